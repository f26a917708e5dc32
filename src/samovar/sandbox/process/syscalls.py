"""The system calls of a sandbox that Python's standard library lacks.

How this works. Thin functions over ctypes, each named like its call; they raise `OSError` with
the call's name. `PyDLL` keeps the GIL held, so nothing of the interpreter runs between the raw
`clone` and the child's first step. Used by the supervisor and by zygotes, so it runs on every
Python from 3.9 and imports the standard library only.

`fork_into` is a raw `clone`, because glibc's `fork` takes no flags. It calls none of the hooks of
`os.fork`: what they do is set right locks that other threads may have held, but there is one
thread; and they would cost each instance 600 kB of pages that it no longer shares. One of them
reseeds `random`: whoever forks here must do that. (OpenSSL notices the new pid by itself.) glibc
caches the thread's id in its thread block; the kernel writes the new one there
(CLONE_CHILD_SETTID), or `abort` and `pthread_kill` in an instance would signal a stranger. `clone`
rather than `clone3`: container engines answer `clone3` with ENOSYS, for seccomp cannot look into
its argument.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
from typing import Optional

CLONE_VM = 0x00000100
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_PARENT = 0x00008000
CLONE_CHILD_CLEARTID = 0x00200000
CLONE_CHILD_SETTID = 0x01000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MNT_DETACH = 2

MOUNT_ATTR_RDONLY = 1
MOUNT_ATTR_NOSUID = 2
MOUNT_ATTR_NODEV = 4

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4

_SIGCHLD = 17
"""What a parent is sent; without it, a child is waited for with __WCLONE only."""

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
_PR_GET_TID_ADDRESS = 40
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

CAPABILITY_HEADER = struct.pack("Ii", 0x20080522, 0)
NO_CAPABILITIES = bytes(24)

# Since Linux 5.1 new calls have one number on every architecture.
_NR_OPEN_TREE = 428
_NR_MOVE_MOUNT = 429
_NR_CLOSE_RANGE = 436
_NR_MOUNT_SETATTR = 442

_MACHINE = os.uname().machine
_NR_CLONE = 56 if _MACHINE == "x86_64" else 220
_NR_RSEQ = 334 if _MACHINE == "x86_64" else 293

_libc = ctypes.PyDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_int, _ulong, _str = ctypes.c_int, ctypes.c_ulong, ctypes.c_char_p
_libc.mount.argtypes = [_str, _str, _str, _ulong, _str]
_libc.prctl.argtypes = [_int, _ulong, _ulong, _ulong, _ulong]
_libc.pthread_self.restype = _ulong


def _checked(result: int, call: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
    return result


def _path(path: str | None) -> bytes | None:
    return None if path is None else os.fsencode(path)


# ---------------------------------------------------------------- namespaces and mounts

PlannedMount = tuple[Optional[bytes], bytes, Optional[bytes], int, Optional[bytes]]  # noqa: UP045


def unshare(flags: int) -> None:
    """Enter new namespaces."""
    _checked(_libc.unshare(_int(flags)), "unshare")


def setns(fd: int, kind: int) -> None:
    """Enter the namespace that `fd` stands for."""
    _checked(_libc.setns(_int(fd), _int(kind)), "setns")


def mount(
    source: str | None, target: str, fstype: str | None, flags: int, data: str | None = None
) -> None:
    """Mount, remount or bind."""
    perform(planned_mount(source, target, fstype, flags, data))


def planned_mount(
    source: str | None, target: str, fstype: str | None, flags: int, data: str | None = None
) -> PlannedMount:
    """The same, to be performed later and often."""
    return _path(source), os.fsencode(target), _path(fstype), flags, _path(data)


def perform(mount: PlannedMount) -> None:
    """Do it: cheaply, and with few pages touched."""
    if _libc.mount(*mount) < 0:
        _checked(-1, f"mount {os.fsdecode(mount[1])}")


def detach(target: str) -> None:
    """Take a mount, and what is mounted below it, out of the tree at once."""
    _checked(_libc.umount2(_str(_path(target)), _int(MNT_DETACH)), f"umount2 {target}")


def pivot_root(new_root: str, put_old: str) -> None:
    """Make `new_root` the root and keep the old one reachable at `put_old`."""
    _checked(_libc.pivot_root(_str(_path(new_root)), _str(_path(put_old))), "pivot_root")


def clone_tree(path: str) -> int:
    """Return an fd of a detached copy of the mounts at `path`, to be attached elsewhere."""
    flags = _OPEN_TREE_CLONE | _AT_RECURSIVE | os.O_CLOEXEC
    result = _syscall(_NR_OPEN_TREE, _int(_AT_FDCWD), _str(_path(path)), _int(flags))
    return _checked(result, f"open_tree {path}")


def attach_tree(tree_fd: int, target: str) -> None:
    """Mount a detached tree at `target`."""
    flags = _int(_MOVE_MOUNT_F_EMPTY_PATH)
    result = _syscall(
        _NR_MOVE_MOUNT, _int(tree_fd), _str(b""), _int(_AT_FDCWD), _str(_path(target)), flags
    )
    _checked(result, f"move_mount {target}")


def set_mount_attributes(attributes: int, *, path: str = "", tree_fd: int = _AT_FDCWD) -> None:
    """Set attributes on a mount and all below it: of a detached tree, or at a path."""
    flags = _AT_RECURSIVE | (0 if path else _AT_EMPTY_PATH)
    block = struct.pack("QQQQ", attributes, 0, 0, 0)
    arguments = (_int(tree_fd), _str(_path(path)), _int(flags), _str(block), ctypes.c_size_t(32))
    _checked(_syscall(_NR_MOUNT_SETATTR, *arguments), f"mount_setattr {path}")


# ---------------------------------------------------------------- a process and its privileges


def _prctl(option: int, argument: int = 0) -> None:
    _checked(_libc.prctl(option, argument, 0, 0, 0), f"prctl {option}")


def die_with_parent(signal_number: int) -> None:
    """Be sent a signal when the parent dies. `setuid` clears it: call this afterwards."""
    _prctl(PR_SET_PDEATHSIG, signal_number)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def no_new_privileges() -> None:
    """Make `execve` never grant anything (set-uid, file capabilities), for ever."""
    _prctl(PR_SET_NO_NEW_PRIVS, 1)


def set_dumpable(dumpable: bool) -> None:
    """Whether processes of one's own uid may look into this one, and it owns its /proc files.

    `setuid` takes that away, where a plain `execve` would not."""
    _prctl(PR_SET_DUMPABLE, int(dumpable))


def drop_bounding_set() -> None:
    """Make every capability unattainable, for this process and all it forks."""
    capability = 0
    while _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1


def drop_capabilities() -> None:
    """Give up all capabilities: effective, permitted, inheritable, ambient."""
    _libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    _checked(_libc.capset(CAPABILITY_HEADER, NO_CAPABILITIES), "capset")


def close_from(first_fd: int) -> None:
    """Close every descriptor from `first_fd` up."""
    result = _syscall(_NR_CLOSE_RANGE, ctypes.c_uint(first_fd), ctypes.c_uint(0xFFFFFFFF), _int(0))
    if result < 0:  # before Linux 5.9
        os.closerange(first_fd, os.sysconf("SC_OPEN_MAX"))


def has_ended(pidfd: int) -> bool:
    """Whether a process is no more."""
    return bool(select.select([pidfd], [], [], 0)[0])


def forget_restartable_sequences() -> None:
    """Have the kernel look for none in this thread's memory any more (rseq(2)): glibc registers
    where it will, and from then on what is written there can make the thread jump."""
    try:
        offset = ctypes.c_ssize_t.in_dll(_libc, "__rseq_offset").value
        size = ctypes.c_uint.in_dll(_libc, "__rseq_size").value
    except ValueError:
        return  # before glibc 2.35
    for length in (32, size):
        if _syscall(_NR_RSEQ, _ulong(_libc.pthread_self() + offset), length, 1, 0x53053053) == 0:
            return


def map_space(size: int, executable: int) -> int:
    """Map so many bytes of memory, with nothing in them, of which the first so many are to be
    executed; return their address."""
    readable_writable, private_anonymous = 3, 0x22
    _libc.mmap.restype = ctypes.c_void_p
    address = _libc.mmap(
        None, ctypes.c_size_t(size), readable_writable, private_anonymous, -1, ctypes.c_long(0)
    )
    if address == ctypes.c_void_p(-1).value:
        _checked(-1, "mmap")
    readable_executable = 5
    _checked(
        _libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(executable), readable_executable),
        "mprotect",
    )
    return int(address)


# ---------------------------------------------------------------- fork


def thread_id_address() -> int:
    """Where glibc keeps this thread's id; 0 where it cannot be found."""
    address = ctypes.c_void_p(0)
    prctl = ctypes.PyDLL(None, use_errno=True).prctl  # own argtypes: this one takes a pointer
    if prctl(_PR_GET_TID_ADDRESS, ctypes.byref(address), 0, 0, 0) == 0 and address.value:
        return address.value
    # Kernels without CONFIG_CHECKPOINT_RESTORE: it is in the block that pthread_self points to.
    words = (ctypes.c_int * 256).from_address(_libc.pthread_self())
    found = [index for index in range(256) if words[index] == os.getpid()]
    return ctypes.addressof(words) + 4 * found[0] if len(found) == 1 else 0


_tid_address = 0


def _clone(flags: int, child_tid: int) -> int:
    tid, none = _ulong(child_tid), _ulong(0)
    # The last two arguments (child's tid, thread block) are swapped between the architectures.
    last = (tid, none) if _MACHINE == "x86_64" else (none, tid)
    return int(_syscall(ctypes.c_long(_NR_CLONE), _ulong(flags), none, none, *last))


def fork_into(flags: int) -> int:
    """Fork a sibling (a child of this process's parent) into new namespaces.

    Returns the pid in the caller, 0 in the new process. For single-threaded processes only.
    """
    global _tid_address
    if not _tid_address:
        _tid_address = thread_id_address()
    flags |= CLONE_PARENT
    if _tid_address:
        flags |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID
    return _checked(_clone(flags, _tid_address), "clone")


def fork_child(flags: int) -> int:
    """The same, but a child of the caller."""
    return _checked(_clone(flags | _SIGCHLD, 0), "clone")
