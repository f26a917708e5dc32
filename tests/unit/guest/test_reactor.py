"""What the reactor promises where callbacks of one round change each other's watches."""

from __future__ import annotations

import socket

from samovar.guest.reactor import Reactor


def test_who_has_been_replaced_in_a_round_is_not_called_in_it():
    reactor, called = Reactor(), []
    pairs = [socket.socketpair() for _ in range(2)]
    (one, _), (two, _) = pairs

    def replace(other):
        called.append("first")
        for sock in (one, two):
            reactor.watch(sock, lambda: called.append("new"))
        other.recv(1)

    reactor.watch(one, lambda: replace(one))
    reactor.watch(two, lambda: replace(two))
    for _, theirs in pairs:
        theirs.send(b"x")
    reactor.run_until(lambda: len(called) > 1)
    assert called == ["first", "new"]
    for ours, theirs in pairs:
        ours.close()
        theirs.close()


def test_who_is_no_longer_read_for_after_writing_is_not_called():
    reactor, called = Reactor(), []
    ours, theirs = socket.socketpair()
    theirs.send(b"x")

    def write():
        called.append("written")
        reactor.watch(ours, lambda: called.append("new"))

    reactor.watch(ours, lambda: called.append("old"), write)
    reactor.run_until(lambda: len(called) > 1)
    assert called == ["written", "new"]
    ours.close()
    theirs.close()
