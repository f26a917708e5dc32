"""Samovar, as one of them."""

from __future__ import annotations

from contextlib import ExitStack

from benchmarks.load import Target
from benchmarks.peers.peer import Peer, timed
from benchmarks.samovar import API, FULL_VCPU_MIB, invocation, samovar
from benchmarks.setting import Setting


def start(setting: Setting, stack: ExitStack) -> Peer:
    """With its default pool of blanks."""
    server = stack.enter_context(samovar(setting, "peers", memory_mib=64 * FULL_VCPU_MIB))
    for name in ("warm", "cold"):
        server.create(name, memory_mib=FULL_VCPU_MIB)

    def cold_s() -> float:
        server.renew(["cold"])
        return timed(server.connection, invocation("cold"))

    return Peer(Target("samovar", server.address, f"{API}/warm/invocations"), cold_s)
