"""Who may be signalled, who is reaped, and what ends with what: in processes of their own."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from samovar.sandbox.process import children

PRELUDE = """
import json, os, resource, signal, subprocess, sys, time
from samovar.sandbox.process import children, strays
from samovar.sandbox.process.children import Children
from samovar.sandbox.process.reaper import ReaperPool

def wait_for(condition, limit_s=10):
    deadline = time.monotonic() + limit_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.002)
    return condition()

def gone(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True

def orphan():
    "A process that is none of our children."
    command = "sleep 300 >/dev/null 2>&1 & echo $!"
    return int(subprocess.run(["sh", "-c", command], capture_output=True).stdout)

def spawn(*command):
    "A child that nobody but us reaps."
    return os.posix_spawn(f"/bin/{command[0]}", command, {})

def told(answer):
    print(json.dumps(answer), flush=True)
"""

needs_pid_namespaces = pytest.mark.usefixtures("pid_namespaces")


@pytest.fixture(scope="module")
def pid_namespaces() -> None:
    attempt = "from samovar.sandbox.process import syscalls as s; s.unshare(s.CLONE_NEWPID)"
    tried = subprocess.run([sys.executable, "-c", attempt], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("needs pid namespaces, thus root, and in a container privileges")


def script(body: str) -> Any:
    """What a script tells that runs in a process of its own."""
    program = PRELUDE + textwrap.dedent(body)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# ---------------------------------------------------------------- signals


def test_what_is_no_child_of_ours_is_never_to_be_signalled():
    # Asked only: a kill(0) or kill(-1) would be the end of us.
    pids = [0, 1, -1, os.getpid(), os.getppid()]
    assert not any(children._is_child(pid) for pid in pids)


def test_a_process_of_others_survives_a_kill():
    assert script("""
        stranger = orphan()
        children.kill(stranger)
        survived = not wait_for(lambda: gone(stranger), 0.1)
        os.kill(stranger, signal.SIGKILL)
        told(survived)
    """)


def test_a_child_is_killed_and_its_end_is_told():
    assert script("""
        ours, ends = Children(), []
        child = spawn("sleep", "300")
        ours.adopt(child, lambda end: ends.append(end.code))
        children.kill(child)
        wait_for(lambda: ours.reap() or ends)
        children.kill(child)  # its number is free by now
        told([ends, sorted(ours.known), ours.none_left()])
    """) == [[-9], [], True]


def test_an_end_that_comes_before_its_owner_is_kept():
    assert script("""
        ours, ends = Children(), []
        child = spawn("sh", "-c", "exit 7")
        wait_for(lambda: ours.reap() or ours.none_left())
        ours.adopt(child, lambda end: ends.append(end.code))
        told(ends)
    """) == [7]


def test_a_stranger_that_had_a_childs_number_before_does_not_count_for_it():
    assert script("""
        ours, ends = Children(), []
        child = spawn("sleep", "300")
        ours._strangers[child] = children.End(3, 0)
        ours.adopt(child, lambda end: ends.append(end.code))
        early = list(ends)
        children.kill(child)
        wait_for(lambda: ours.reap() or ends)
        told([early, ends])
    """) == [[], [-9]]


def test_strays_are_known_by_their_mark():
    assert script("""
        from samovar.sandbox.process import syscalls
        syscalls.adopt_orphans()
        def sleeper(mark):
            limit = lambda: mark and resource.setrlimit(strays.RLIMIT_LOCKS, (mark, mark))
            command = ["sh", "-c", "sleep 300 & wait"]
            return subprocess.Popen(command, preexec_fn=limit, start_new_session=True)
        ours, others, unmarked = sleeper(7001), sleeper(7002), sleeper(0)
        wait_for(lambda: len(strays._below(os.getpid(), strays._table())) >= 6)
        count = strays.kill(7001)
        ended = ours.wait()
        alive = others.poll() is None and unmarked.poll() is None
        for mark in (7001, 7002):
            wait_for(lambda: strays.kill(mark) == 0)
        others.wait()
        family = strays._below(os.getpid(), strays._table())
        for pid in sorted(family):
            os.kill(pid, signal.SIGKILL)
        told([count, ended, alive])
    """) == [2, -9, True]


# ---------------------------------------------------------------- reapers

FORKED = pytest.mark.parametrize("forked", [False, True])
IN_ITS_NAMESPACE = """
        from samovar.sandbox.process import syscalls
        pool = ReaperPool(ours := Children(), user_namespace={forked})
        reaper = pool.take()
        syscalls.setns(reaper.fd, syscalls.CLONE_NEWPID)
"""


@needs_pid_namespaces
@FORKED
def test_a_reaper_buries_orphans_and_ends_what_is_left(forked):
    assert script(
        IN_ITS_NAMESPACE.format(forked=forked)
        + """
        command = "for i in 1 2 3 4 5; do (sleep 0.01 & true); done; sleep 300 & echo started"
        shell = subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE)
        shell.stdout.readline()
        shell.wait()
        def sleepers():
            return [p for p in strays._below(os.getpid(), strays._table()) if p != reaper.pid]
        one_left = wait_for(lambda: len(sleepers()) == 1)
        ends = []
        reaper.on_end = ends.append
        (left,) = sleepers()
        reaper.kill()
        wait_for(lambda: ours.reap() or ends)
        told([one_left, gone(left), len(ends), reaper.fd])
    """
    ) == [True, True, 1, -1]


@needs_pid_namespaces
@FORKED
def test_a_reaper_ends_with_the_process_that_made_it(forked):
    pids = script(
        IN_ITS_NAMESPACE.format(forked=forked)
        + """
        inside = subprocess.Popen(
            ["sleep", "300"], start_new_session=True, stdout=subprocess.DEVNULL
        ).pid
        told([reaper.pid, inside])
        sys.stdout.flush()
        os._exit(0)
    """
    )
    script(f"""
        told(wait_for(lambda: all(gone(pid) for pid in {pids})))
    """)
    for pid in pids:
        status = Path(f"/proc/{pid}/stat")
        assert not status.exists() or " Z " in status.read_text()


@needs_pid_namespaces
def test_a_reaper_is_a_few_kilobytes():
    assert (
        script("""
        reaper = ReaperPool(Children(), user_namespace=False).take()
        lines = open(f"/proc/{reaper.pid}/smaps_rollup").read().splitlines()
        told(sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")))
    """)
        <= 64
    )


@needs_pid_namespaces
def test_a_pool_keeps_as_many_as_it_should_and_ends_them():
    assert script("""
        pool = ReaperPool(ours := Children(), user_namespace=False)
        made = [pool.fill_one(2) for _ in range(3)]
        first = pool.take()
        pool.close()
        first.kill()
        wait_for(lambda: ours.reap() or ours.none_left())
        told([made, ours.none_left()])
    """) == [[True, True, False], True]
