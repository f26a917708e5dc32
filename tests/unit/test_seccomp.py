"""The filter on system calls: what real processes under it can and cannot do."""

from __future__ import annotations

import errno
import json
import platform
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from samovar.sandbox.process import seccomp

on_x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of x86_64")

CAP_SYS_ADMIN = 21


def privileged() -> bool:
    """Whether we may do what root may outside of containers."""
    status = Path("/proc/self/status").read_text()
    (effective,) = [line for line in status.splitlines() if line.startswith("CapEff:")]
    return bool(int(effective.split()[1], 16) >> CAP_SYS_ADMIN & 1)


ENTER = """
import ctypes, errno, json, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    "What a system call says: 0 or the name of its errno."
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) for a in arguments])
    return 0 if result >= 0 else errno.errorcode[ctypes.get_errno()]
def enter():
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    from samovar.sandbox.process import seccomp
    seccomp.install(seccomp.compiled())
"""


def run(body: str, *, filtered: bool = True) -> subprocess.CompletedProcess[str]:
    """Run `body` in a fresh interpreter, under the filter or not."""
    script = ENTER + ("enter()\n" if filtered else "") + body
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )


def answers(body: str, *, filtered: bool = True) -> dict[str, object]:
    """Run `body`, which prints a JSON object last, and return that."""
    done = run(body, filtered=filtered)
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    return result


# ------------------------------------------------------------ refused calls

REFUSED = {
    "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "open_tree": 428,
    "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "mount_setattr": 442, "open_tree_attr": 467, "unshare": 272, "setns": 308, "ptrace": 101,
    "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "pidfd_getfd": 438,
    "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "io_uring_setup": 425,
    "io_uring_enter": 426, "io_uring_register": 427, "io_setup": 206, "add_key": 248,
    "request_key": 249, "keyctl": 250, "kexec_load": 246, "kexec_file_load": 320,
    "init_module": 175, "finit_module": 313, "delete_module": 176, "reboot": 169, "swapon": 167,
    "swapoff": 168, "quotactl": 179, "quotactl_fd": 443, "acct": 163, "settimeofday": 164,
    "clock_settime": 227, "adjtimex": 159, "clock_adjtime": 305, "sethostname": 170,
    "setdomainname": 171, "iopl": 172, "ioperm": 173, "syslog": 103, "open_by_handle_at": 304,
    "name_to_handle_at": 303, "fanotify_init": 300, "modify_ldt": 154, "vmsplice": 278,
    "move_pages": 279, "mbind": 237, "lsm_set_self_attr": 460,
}  # fmt: skip
"""Name → number on x86_64."""

TRY_ALL = f"print(json.dumps({{n: call(k, *[-1] * 6) for n, k in {REFUSED!r}.items()}}))"
"""All arguments are -1, which no call accepts: nothing happens, filter or not."""


@on_x86_64
def test_calls_that_no_function_needs_are_refused() -> None:
    assert answers(TRY_ALL) == dict.fromkeys(REFUSED, "EPERM")


@on_x86_64
@pytest.mark.root
@pytest.mark.skipif(
    not privileged(), reason="the kernel itself refuses whoever lacks CAP_SYS_ADMIN"
)
def test_without_the_filter_the_same_calls_reach_the_kernel() -> None:
    seen = answers(TRY_ALL, filtered=False)
    by_the_kernel = [name for name, answer in seen.items() if answer != "EPERM"]
    assert len(by_the_kernel) > 0.9 * len(REFUSED), seen


NAMESPACES = ("NS", 0x20000), ("CGROUP", 0x02000000), ("UTS", 0x04000000), ("IPC", 0x08000000), (
    "USER", 0x10000000), ("PID", 0x20000000), ("NET", 0x40000000)  # fmt: skip


@on_x86_64
@pytest.mark.parametrize(("name", "flag"), NAMESPACES)
def test_clone_makes_no_namespace(name: str, flag: int) -> None:
    body = f"r = call(56, {flag} | 17, 0, 0, 0, 0)\nprint(json.dumps({{'clone': r}}))"
    assert answers(body) == {"clone": "EPERM"}, name


@on_x86_64
def test_a_user_namespace_can_be_made_only_without_the_filter() -> None:
    body = """
pid = libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0)
if pid == 0:
    os._exit(0)
print(json.dumps({"made": pid > 0}))
"""
    if answers(body, filtered=False) != {"made": True}:
        pytest.skip("this host forbids user namespaces by itself")
    assert answers(body) == {"made": False}


@on_x86_64
def test_clone_makes_no_child_for_the_parent() -> None:
    clone_parent = 0x8000
    body = f"r = call(56, {clone_parent} | 17, 0, 0, 0, 0)\nprint(json.dumps({{'clone': r}}))"
    assert answers(body) == {"clone": "EPERM"}


def test_clone3_and_calls_of_the_future_do_not_exist() -> None:
    body = "print(json.dumps([call(435, -1, 88), call(468), call(600), call(-1)]))"
    assert answers(body) == ["ENOSYS"] * 4


@on_x86_64
def test_a_personality_that_weakens_memory_protection_is_refused() -> None:
    read_implies_exec, no_randomisation, query = 0x0400000, 0x0040000, 0xFFFFFFFF
    tries = (read_implies_exec, no_randomisation, 0, query)
    body = f"print(json.dumps([call(135, p) for p in {tries}]))"
    assert answers(body) == ["EPERM", "EPERM", 0, 0]


@on_x86_64
def test_nothing_can_be_typed_into_a_terminal() -> None:
    body = """
import pty
_, terminal = pty.openpty()
byte = ctypes.c_char(b"x")
tiocsti, tioclinux, tiocgwinsz = 0x5412, 0x541C, 0x5413
room = ctypes.create_string_buffer(8)
print(json.dumps([call(16, terminal, tiocsti, ctypes.addressof(byte)),
                  call(16, terminal, tioclinux, ctypes.addressof(byte)),
                  call(16, terminal, tiocgwinsz, ctypes.addressof(room))]))
"""
    assert answers(body) == ["EPERM", "EPERM", 0]


# ------------------------------------------------------------ sockets

SOCKETS = {
    "tcp": (2, 1, 6, 0), "udp6": (10, 2, 0, 0), "unix": (1, 1, 0, 0), "seqpacket": (1, 5, 0, 0),
    "close-on-exec": (2, 1 | 0o2000000 | 0o4000, 0, 0), "route netlink": (16, 3, 0, 0),
    "raw": (2, 3, 1, "EPERM"), "raw6": (10, 3, 58, "EPERM"), "packet type": (2, 10, 0, "EPERM"),
    "unix raw": (1, 3, 0, "EPERM"), "packet": (17, 3, 768, "EAFNOSUPPORT"),
    "vsock": (40, 1, 0, "EAFNOSUPPORT"), "alg": (38, 5, 0, "EAFNOSUPPORT"),
    "bluetooth": (31, 3, 0, "EAFNOSUPPORT"), "tipc": (30, 2, 0, "EAFNOSUPPORT"),
    "xdp": (44, 3, 0, "EAFNOSUPPORT"), "netfilter": (16, 3, 12, "EPROTONOSUPPORT"),
    "kernel events": (16, 2, 15, "EPROTONOSUPPORT"), "audit": (16, 3, 9, "EPROTONOSUPPORT"),
    "sctp": (2, 1, 132, "EPROTONOSUPPORT"), "mptcp": (2, 1, 262, "EPROTONOSUPPORT"),
}  # fmt: skip
"""What → family, type, protocol, answer."""


@on_x86_64
def test_only_ordinary_sockets_can_be_made() -> None:
    body = f"print(json.dumps({{n: call(41, *s[:3]) for n, s in {SOCKETS!r}.items()}}))"
    assert answers(body) == {name: socket[3] for name, socket in SOCKETS.items()}


@on_x86_64
def test_socket_pairs_are_unix_only() -> None:
    body = """
pair = (ctypes.c_int * 2)()
at = ctypes.addressof(pair)
print(json.dumps([call(53, 1, 1, 0, at), call(53, 30, 5, 0, at), call(53, 1, 3, 0, at)]))
"""
    assert answers(body) == [0, "EAFNOSUPPORT", "EPERM"]


# ------------------------------------------------------------ other ABIs


@on_x86_64
def test_a_call_through_the_x32_abi_is_deadly() -> None:
    assert run("call(0x40000000 | 39)").returncode == -signal.SIGSYS


@on_x86_64
def test_a_call_through_the_i386_abi_is_deadly() -> None:
    # mov eax, 20 (getpid); int 0x80; ret
    body = """
import mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex("b814000000cd80c3"))
at = ctypes.addressof(ctypes.c_char.from_buffer(page))
print(ctypes.CFUNCTYPE(ctypes.c_int)(at)(), flush=True)
"""
    assert run(body).returncode == -signal.SIGSYS


# ------------------------------------------------------------ ordinary life

ORDINARY = {
    "threads": """
import threading
seen = []
threads = [threading.Thread(target=seen.append, args=(i,)) for i in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
assert sorted(seen) == list(range(8))
""",
    "subprocesses": """
import subprocess
done = subprocess.run(["/bin/sh", "-c", "echo $((6*7)) | cat"], capture_output=True)
assert done.stdout == b"42\\n"
assert subprocess.run(["/bin/true"], close_fds=False).returncode == 0
""",
    "asyncio": """
import asyncio
async def main():
    async def answer(reader, writer):
        writer.write(await reader.read(10)); writer.close()
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("localhost", port)
    writer.write(b"tea"); assert await reader.read(10) == b"tea"
    writer.close(); server.close()
    child = await asyncio.create_subprocess_exec("/bin/echo", "hot", stdout=-1)
    assert (await child.communicate())[0] == b"hot\\n"
asyncio.run(main())
""",
    "multiprocessing": """
import multiprocessing, math
from multiprocessing import shared_memory
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(math.factorial, range(4)) == [1, 1, 2, 6]
memory = shared_memory.SharedMemory(create=True, size=10)
memory.buf[0] = 7; memory.close(); memory.unlink()
""",
    "sqlite": """
import sqlite3, tempfile
with tempfile.TemporaryDirectory() as folder:
    db = sqlite3.connect(folder + "/d"); db.execute("pragma journal_mode=wal")
    db.execute("create table t (x)"); db.execute("insert into t values (1)"); db.commit()
    assert db.execute("select x from t").fetchall() == [(1,)]
    db.close()
""",
    "name look-up and interfaces": """
import socket
assert socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
assert "lo" in [name for _, name in socket.if_nameindex()]
""",
    "files": """
import os, tempfile, shutil, mmap
with tempfile.TemporaryDirectory() as folder:
    os.mkfifo(folder + "/fifo"); os.symlink("a", folder + "/link")
    open(folder + "/a", "wb").write(b"x" * 5000)
    shutil.copy2(folder + "/a", folder + "/b"); os.rename(folder + "/b", folder + "/c")
    with open(folder + "/c", "r+b") as file:
        with mmap.mmap(file.fileno(), 0) as view: assert view[0] == 120
    os.fsync(os.open(folder + "/c", os.O_RDONLY)); os.chmod(folder + "/c", 0o600)
""",
    "signals and timers": """
import signal
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.01); signal.pause()
""",
}


@pytest.mark.parametrize("what", ORDINARY)
def test_ordinary_programs_do_not_notice_the_filter(what: str) -> None:
    done = run(ORDINARY[what])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["node", "-e", "new (require('worker_threads').Worker)('0', {eval: true})"],
        ["java", "-Xmx64m", "-version"],
        ["/bin/sh", "-c", "ls / | sort | head -1"],
    ],
    ids=["node", "java", "shell"],
)
def test_other_languages_run_under_the_filter(command: Sequence[str]) -> None:
    program = shutil.which(command[0])
    if program is None:
        pytest.skip(f"no {command[0]} here")
    done = run(f"os.execv({program!r}, {list(command)!r})")
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(
    "NoNewPrivs:\t1" in Path("/proc/self/status").read_text(),
    reason="no_new_privs is on already, as some containers have it",
)
def test_installing_needs_no_new_privs() -> None:
    body = """
from samovar.sandbox.process import seccomp
if os.geteuid() == 0:
    os.setresuid(65534, 65534, 65534)  # root could do without
try:
    seccomp.install(seccomp.compiled())
    print(json.dumps("installed"))
except OSError as error:
    print(json.dumps(errno.errorcode[error.errno]))
"""
    assert answers(body, filtered=False) == "EACCES"


# ------------------------------------------------------------ both machines, by simulation

ALLOW, KILL = 0x7FFF0000, 0x80000000


def refuse(code: int) -> int:
    return 0x00050000 | code


def evaluate(program: bytes, number: int, *arguments: int, arch: int) -> int:
    """Run a BPF program as the kernel would; return its answer."""
    arguments = (*arguments, *[0] * (6 - len(arguments)))
    data = struct.pack("=IIQ6Q", number, arch, 0, *arguments)
    code = list(struct.iter_unpack("=HBBI", program))
    accumulator, at = 0, 0
    while True:
        opcode, if_true, if_false, operand = code[at]
        at += 1
        if opcode == 0x20:
            accumulator = struct.unpack_from("=I", data, operand)[0]
        elif opcode == 0x54:
            accumulator &= operand
        elif opcode == 0x06:
            return int(operand)
        else:
            truth = {0x15: accumulator == operand, 0x35: accumulator >= operand,
                     0x45: bool(accumulator & operand)}[opcode]  # fmt: skip
            at += if_true if truth else if_false


ARM, X86 = 0xC00000B7, 0xC000003E
DECISIONS = [
    ("aarch64", ARM, (63,), ALLOW),  # read
    ("aarch64", ARM, (56,), ALLOW),  # openat
    ("aarch64", ARM, (221,), ALLOW),  # execve
    ("aarch64", ARM, (260,), ALLOW),  # wait4
    ("aarch64", ARM, (40,), refuse(errno.EPERM)),  # mount
    ("aarch64", ARM, (97,), refuse(errno.EPERM)),  # unshare
    ("aarch64", ARM, (268,), refuse(errno.EPERM)),  # setns
    ("aarch64", ARM, (117,), refuse(errno.EPERM)),  # ptrace
    ("aarch64", ARM, (220, 0x10000011), refuse(errno.EPERM)),  # clone, new user namespace
    ("aarch64", ARM, (220, 0x3D0F00), ALLOW),  # clone, a thread
    ("aarch64", ARM, (435,), refuse(errno.ENOSYS)),  # clone3
    ("aarch64", ARM, (198, 2, 1, 0), ALLOW),  # socket, TCP
    ("aarch64", ARM, (198, 40, 1, 0), refuse(errno.EAFNOSUPPORT)),  # socket, vsock
    ("aarch64", ARM, (468,), refuse(errno.ENOSYS)),
    ("aarch64", X86, (63,), KILL),
    ("aarch64", 0x40000028, (63,), KILL),  # 32-bit arm
    ("x86_64", X86, (0,), ALLOW),
    ("x86_64", X86, (56, 0x10000011), refuse(errno.EPERM)),
    ("x86_64", X86, (56, 1 << 40 | 0x3D0F00), ALLOW),  # the kernel ignores the upper half
    ("x86_64", X86, (41, 1 << 40 | 40, 1, 0), refuse(errno.EAFNOSUPPORT)),
    ("x86_64", 0x40000003, (20,), KILL),  # i386
]


@pytest.mark.parametrize(("machine", "arch", "call", "answer"), DECISIONS)
def test_the_program_of_either_machine_decides(
    machine: str, arch: int, call: tuple[int, ...], answer: int
) -> None:
    assert evaluate(seccomp.build(machine), *call, arch=arch) == answer


@pytest.mark.parametrize(("machine", "arch"), [("x86_64", X86), ("aarch64", ARM)])
def test_exactly_the_written_calls_are_allowed(machine: str, arch: int) -> None:
    program = seccomp.build(machine)
    column = 1 if machine == "x86_64" else 2
    written = {int(n) for entry in seccomp._ALLOWED if (n := entry.split(":")[column])}
    looked_into = {int(entry.split(":")[column]) for entry in seccomp._LOOKED_INTO.split()}
    allowed = {n for n in range(1024) if evaluate(program, n, arch=arch) == ALLOW}
    assert allowed - looked_into == written
