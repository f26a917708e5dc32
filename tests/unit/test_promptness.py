"""A slice of its own for whoever asks for it, and for nobody else."""

from __future__ import annotations

import subprocess
import sys

ASK = """
import os, re
from samovar.promptness import be_prompt

def slice_of(pid):
    found = re.search(r"se.slice\\s*:\\s*(\\d+)", open(f"/proc/{pid}/sched").read())
    return int(found[1]) if found else 0

before = slice_of("self")
be_prompt()
reader, writer = os.pipe()
if os.fork() == 0:
    os.write(writer, str(slice_of("self")).encode())
    os._exit(0)
os.wait()
print(before, slice_of("self"), os.read(reader, 100).decode(), os.getpriority(os.PRIO_PROCESS, 0))
"""


def test_a_process_may_have_a_short_slice_and_hands_it_on_to_none() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", ASK], capture_output=True, text=True, check=True, timeout=60
    )
    before, own, childs, nice = map(int, ran.stdout.split())
    assert own in (before, 300_000)  # as before: a kernel without slices of one's own
    assert childs == before
    assert nice == 0
