"""Kernel rules on files, signals and abstract sockets: the second line behind the mount namespace.

How this works. Landlock (landlock(7), Documentation/userspace-api/landlock.rst) lets a process
without privileges give up access to files for itself and all that it will start. A *ruleset* names
the kinds of access that it handles; those are denied everywhere, except beneath the paths that its
rules name. The rules stick to inodes and not to names, so they hold in any mount namespace, also
when the root of the file system is not the one it should be.

What a kernel can do is told by a version number, its ABI:

    1 (5.13)  files: execute, read, write, list, make, remove
    2 (5.19)  renaming and linking into another directory (before: always refused with EXDEV)
    3 (6.2)   truncating (before: always allowed)
    4 (6.7)   TCP ports: not used here, the network namespace is the barrier
    5 (6.10)  ioctl on devices
    6 (6.12)  no signals to, and no abstract unix sockets of, processes outside
    7 (6.15)  no line in the host's audit log for each refusal, which a function could flood

We ask for all that we know of and the kernel has. Opening by path happens at `restrict` time: a
path that is a symbolic link stands for what it points to.

Imported by the zygote under any interpreter: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Sequence
from typing import NamedTuple

# Alike on every machine (include/uapi/asm-generic/unistd.h).
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_RESTRICT_SELF_LOG_SAME_EXEC_OFF = 1
_RESTRICT_SELF_LOG_SUBDOMAINS_OFF = 4

# linux/landlock.h: LANDLOCK_ACCESS_FS_*
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_HANDLED_BITS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16, 6: 16, 7: 16}
_NEWEST_KNOWN_ABI = max(_HANDLED_BITS)

_READ = _EXECUTE | _READ_FILE | _READ_DIR
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
"""What a rule may grant on something that is not a directory; more is EINVAL."""

_SCOPE_ABSTRACT_UNIX_SOCKET, _SCOPE_SIGNAL = 1, 2

_libc = ctypes.PyDLL(None, use_errno=True)  # PyDLL: keeps the GIL, for a child fresh from clone3
_libc.syscall.restype = ctypes.c_long


def _call(number: int, *arguments: object) -> int:
    result: int = _libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"landlock: {os.strerror(code)}")
    return result


def abi() -> int:
    """Return the kernel's Landlock ABI; 0 where it is not built in or not enabled at boot."""
    try:
        return _call(
            _CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(_CREATE_RULESET_VERSION)
        )
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
            return 0
        raise


_ABI = abi()
NEWEST = min(_ABI, _NEWEST_KNOWN_ABI)
"""The ABI that we use here."""


def scopes_abstract_sockets() -> bool:
    """Whether `restrict` also keeps a process from abstract sockets of others."""
    return _ABI >= 6


def restrict(read: Sequence[str], write: Sequence[str]) -> None:
    """Leave the calling thread, and all that it will start, only these files, for ever.

    Beneath the paths of `read`: read, list and execute. Beneath those of `write`: that, and all
    changes except making device nodes. Everything else is refused, and so are signals to and
    abstract sockets of other processes where the kernel can do that. File descriptors that are
    open already are not affected.

    Call it after PR_SET_NO_NEW_PRIVS, in a process with one thread. Raises `OSError`: ENOSYS
    without Landlock, ENOENT for a path that is not there, EPERM without no_new_privs.
    """
    restrict_as(NEWEST, read, write)


def restrict_as(version: int, read: Sequence[str], write: Sequence[str]) -> None:
    """As `restrict`, with what ABI `version` has (at most the kernel's own)."""
    plan = planned(version, read, write)
    ruleset = _call(
        _CREATE_RULESET,
        ctypes.c_char_p(plan.attributes),
        ctypes.c_size_t(len(plan.attributes)),
        ctypes.c_uint(0),
    )
    try:
        for path, access in plan.rules:
            _allow(ruleset, path, access)
        _call(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint(plan.flags))
    finally:
        os.close(ruleset)


class Plan(NamedTuple):
    """What is asked of the kernel: struct landlock_ruleset_attr, what is allowed beneath which
    paths, and the flags of `landlock_restrict_self`."""

    attributes: bytes
    rules: list[tuple[str, int]]
    flags: int


def planned(version: int, read: Sequence[str], write: Sequence[str]) -> Plan:
    """The plan for `restrict_as`. Raises `OSError` ENOSYS without Landlock."""
    if version < 1:
        raise OSError(errno.ENOSYS, "landlock: not in this kernel, or not enabled at boot")
    handled = (1 << _HANDLED_BITS[version]) - 1
    scoped = _SCOPE_ABSTRACT_UNIX_SOCKET | _SCOPE_SIGNAL if version >= 6 else 0
    # handled_access_fs, handled_access_net, scoped. Older kernels know only its beginning, and
    # accept the rest as long as it is zero.
    attributes = struct.pack("=QQQ", handled, 0, scoped)
    rules = [(path, _READ & handled) for path in read]
    rules += [(path, handled & ~(_MAKE_CHAR | _MAKE_BLOCK)) for path in write]
    quiet = _RESTRICT_SELF_LOG_SAME_EXEC_OFF | _RESTRICT_SELF_LOG_SUBDOMAINS_OFF
    return Plan(attributes, rules, quiet if version >= 7 else 0)


def rule(access: int, fd: int, is_directory: bool) -> bytes:
    """struct landlock_path_beneath_attr, packed: allowed_access, parent_fd."""
    return struct.pack("=Qi", access if is_directory else access & _OF_A_FILE, fd)


def _allow(ruleset: int, path: str, access: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        _call(
            _ADD_RULE,
            ctypes.c_int(ruleset),
            ctypes.c_int(_RULE_PATH_BENEATH),
            ctypes.c_char_p(rule(access, fd, stat.S_ISDIR(os.fstat(fd).st_mode))),
            ctypes.c_uint(0),
        )
    finally:
        os.close(fd)
