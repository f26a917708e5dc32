"""Memory of what waits: instances that have answered once, and blanks.

PSS, as the kernel tells it: pages that several processes share count in parts, so an instance
carries its part of the zygote that all are forks of. The kernel's own side (namespaces, page
tables) is not in it: some 0.3 MiB an instance.
"""

from __future__ import annotations

import os

from benchmarks import process_tree
from benchmarks.connection import drive
from benchmarks.figures import Figure, Findings, median
from benchmarks.samovar import Samovar, invocation, samovar
from benchmarks.service import NotAvailableError
from benchmarks.setting import Setting

TITLE = "Memory of idle instances (PSS)"

AIM_MIB = 4.0
_INSTANCES = 32
_BLANKS = 8


def measure(setting: Setting) -> Findings:
    findings = Findings("memory")
    with samovar(setting, "memory", blanks=_BLANKS) as server:
        for number in range(_INSTANCES):
            name = f"memory-{number}"
            server.create(name)
            drive([server.connection], [invocation(name)])[0].answer.expect()
        server.settle()
        return _weigh(server, findings)


def _weigh(server: Samovar, findings: Findings) -> Findings:
    instances = [_mib(cell) for cell in server.instances()]
    blanks = [_mib(cell) for cell in server.spare()]
    if len(instances) < _INSTANCES:
        raise NotAvailableError(f"{len(instances)} of {_INSTANCES} instances can be seen")
    findings.samples = {"instance MiB": instances, "blank MiB": blanks}
    note = f"{len(instances)} of them"
    roles = {
        "server": [server.pid],
        "supervisor": [server.supervisor()],
        "zygote": server.zygotes(),
    }
    findings.figures = [
        Figure("an idle instance", median(instances), "MiB", aim=AIM_MIB, note=note),
        Figure("the largest of them", max(instances), "MiB"),
        Figure("a blank", median(blanks), "MiB", note=f"{len(blanks)} of them"),
        *(Figure(f"the {role}", _mib(pids), "MiB") for role, pids in roles.items()),
    ]
    everything = [server.pid, *process_tree.descendants(server.pid)]
    findings.figures.append(
        Figure("all of it together", _mib(everything), "MiB", note=f"{len(everything)} processes")
    )
    return findings


def _mib(pids: list[int]) -> float:
    """Of these and of all that they started."""
    if os.geteuid() and not process_tree.pss_bytes(pids[0]):
        raise NotAvailableError("the sizes of other users' processes cannot be read")
    return sum(process_tree.pss_bytes(pid) for pid in pids) / 2**20
