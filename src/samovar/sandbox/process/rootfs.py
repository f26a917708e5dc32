"""The file system that an instance sees.

How this works. A zygote builds one *template root*: a small read-only tmpfs with the host's /usr,
the interpreter, a minimal /etc and /dev, and empty /tmp, /proc, /var/task and /opt. It pivots into
it and detaches the host's root. Every instance is forked in a copy of the zygote's mount namespace,
so only what is private to it is mounted per instance: /tmp, /dev/shm, /proc (`mount_private`), and
its code and its layers (by the supervisor, from outside).

The root is made in two pivots, as bubblewrap does: first into an empty tmpfs in which the host is
`/host` and the new root `/root`, so that no source path can be hidden by what is being built.

Inside a user namespace the kernel lets nobody mount a /proc unless one that hides nothing is in
sight, so there the host's stays at `/.proc` until the instance has its own, and is then detached.

Runs in zygotes: Python 3.9, standard library only.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from samovar.sandbox.process import syscalls as sys_

if TYPE_CHECKING:
    from collections.abc import Mapping

TASK_ROOT = "/var/task"
LAYERS_ROOT = "/opt"
USER_NAME = "sbx_user1051"
DEFAULT_TMP_MIB = 512

FROZEN = sys_.MOUNT_ATTR_RDONLY | sys_.MOUNT_ATTR_NOSUID | sys_.MOUNT_ATTR_NODEV
"""What a function sees of files that are not its own."""
_QUIET = sys_.MS_NOSUID | sys_.MS_NODEV
_HOST, _ROOT = "/host", "/root"
WITNESS_PROC = "/.proc"

_USR_DIRECTORIES = ("bin", "sbin", "lib", "lib64", "lib32")
_EMPTY_DIRECTORIES = ("proc", "tmp", "var", "var/task", "var/runtime", "opt", "mnt", "etc")
_DEVICES = ("null", "zero", "full", "random", "urandom")
_DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}
_ETC_COPIES = (
    *("ld.so.cache", "ld.so.conf", "nsswitch.conf", "protocols", "services", "mime.types"),
    "ssl/openssl.cnf",
)
_ETC_DIRECTORIES = (
    "alternatives",
    "ca-certificates",
    "crypto-policies",
    "pki/ca-trust",
    "pki/tls/certs",
    "ssl/certs",
)
_NSSWITCH = b"passwd: files\ngroup: files\nhosts: files dns\n"
_HOSTS = "127.0.0.1 localhost sandbox.localdomain sandbox\n::1 localhost\n"
"""`sandbox.localdomain` is what extensions listen at for telemetry, as on AWS."""

_MASKED = (
    *("acpi", "asound", "cmdline", "interrupts", "kallsyms", "kcore", "keys", "key-users", "kmsg"),
    *("latency_stats", "modules", "sched_debug", "scsi", "sysrq-trigger", "timer_list"),
)
"""What tells of the host or steers it, beyond what file modes forbid: after Docker's list."""
_READ_ONLY = ("bus", "fs", "irq", "sys")


# ---------------------------------------------------------------- the template root


def enter_template_root(
    prefix: str,
    uids: range,
    nameservers: list[str] | None,
    user_namespace: bool,
    files: Mapping[str, bytes] | None = None,
    shown: Mapping[str, str] | None = None,
) -> None:
    """Leave the host's file system for a minimal one, for ever. The caller's namespace is new.

    `prefix` is the interpreter's installation; `uids` are those that instances may have;
    `nameservers` those that they reach, None where they share the host's network; `files` are
    what a runtime wants to find, by path; `shown` the same, as places of the host."""
    sys_.mount(None, "/", None, sys_.MS_REC | sys_.MS_PRIVATE)
    sys_.mount("tmpfs", "/tmp", "tmpfs", _QUIET, "size=8m,mode=755")  # noqa: S108 - a mount point
    os.mkdir("/tmp" + _HOST)  # noqa: S108
    sys_.pivot_root("/tmp", "/tmp" + _HOST)  # noqa: S108
    os.chdir("/")
    os.mkdir(_ROOT)
    sys_.mount("tmpfs", _ROOT, "tmpfs", _QUIET, "size=8m,mode=755")
    _fill_root(prefix, uids, nameservers)
    for path, content in (files or {}).items():
        _write(path, content)
    for path, host_path in (shown or {}).items():
        with contextlib.suppress(OSError):  # to lack one of these is better than not to start
            _bind_read_only(host_path, path)
    if user_namespace:
        os.mkdir(_ROOT + WITNESS_PROC, 0o700)
        sys_.mount(_HOST + "/proc", _ROOT + WITNESS_PROC, None, sys_.MS_BIND | sys_.MS_REC)
    os.chdir(_ROOT)
    sys_.pivot_root(".", ".")  # the old root lands on top of the new one, and is taken off
    sys_.detach(".")
    os.chdir("/")
    _freeze_root()


def _fill_root(prefix: str, uids: range, nameservers: list[str] | None) -> None:
    for name in _EMPTY_DIRECTORIES:
        os.mkdir(_inside(name))
    _bind_read_only("/usr")
    for name in _USR_DIRECTORIES:
        host_path = _HOST + "/" + name
        if os.path.islink(host_path):
            os.symlink(os.readlink(host_path), _inside(name))
        elif os.path.isdir(host_path):
            _bind_read_only("/" + name)
    if not (prefix + "/").startswith("/usr/"):
        _bind_read_only(prefix)
    _make_dev()
    _make_etc(uids, nameservers)


def _inside(path: str) -> str:
    return _ROOT + "/" + path.lstrip("/")


def _bind_read_only(path: str, shown_at: str | None = None) -> None:
    """Show a file or directory of the host read-only, with what is mounted below it: at the same
    path, or at another one."""
    target = _inside(shown_at or path)
    previous = os.umask(0o022)
    if os.path.isdir(_HOST + path):
        os.makedirs(target, exist_ok=True)
    else:
        _write(shown_at or path, b"")
    os.umask(previous)
    # Recursive: in a user namespace the kernel refuses to copy a mount without what covers it.
    sys_.mount(os.path.realpath(_HOST + path), target, None, sys_.MS_BIND | sys_.MS_REC)
    sys_.set_mount_attributes(FROZEN, path=target)


def _make_dev() -> None:
    os.mkdir(_inside("dev"))
    os.mkdir(_inside("dev/shm"))
    for name in _DEVICES:
        target = _inside("dev/" + name)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o666))
        sys_.mount(_HOST + "/dev/" + name, target, None, sys_.MS_BIND)
    for name, target in _DEVICE_LINKS.items():
        os.symlink(target, _inside("dev/" + name))


def _make_etc(uids: range, nameservers: list[str] | None) -> None:
    # Whichever of them an instance has, it is this one user.
    passwd = "".join(f"{USER_NAME}:x:{uid}:{uid}::/tmp:/bin/sh\n" for uid in uids)
    group = "".join(f"{USER_NAME}:x:{uid}:\n" for uid in uids)
    if 0 not in uids:
        passwd = "root:x:0:0::/:/usr/sbin/nologin\n" + passwd
        group = "root:x:0:\n" + group
    texts = {"passwd": passwd, "group": group, "hosts": _HOSTS, "hostname": "localhost\n"}
    files = {name: text.encode() for name, text in texts.items()}
    for name in _ETC_COPIES:
        content = _read(_HOST + "/etc/" + name)
        if content is not None:
            files[name] = content
    files.setdefault("nsswitch.conf", _NSSWITCH)
    files["resolv.conf"] = _resolver(nameservers)
    for name in _ETC_DIRECTORIES:
        if os.path.isdir(_HOST + "/etc/" + name):
            _bind_read_only("/etc/" + name)
    for name, content in files.items():
        _write("etc/" + name, content)


def _read(path: str) -> bytes | None:
    # Bytes: to decode, Python may have to import a codec, whose file is out of sight here.
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20)
    except OSError:
        return None


def _write(path: str, content: bytes) -> None:
    os.makedirs(os.path.dirname(_inside(path)), exist_ok=True)
    with open(_inside(path), "wb") as file:
        file.write(content)


def _resolver(nameservers: list[str] | None) -> bytes:
    """The host's own resolv.conf where its network is shared, else what can be reached of it."""
    text = _read(_HOST + "/etc/resolv.conf") or b""
    if nameservers is None:
        return text
    kept = [line for line in text.splitlines() if line.startswith((b"search ", b"options "))]
    kept += [b"nameserver " + server.encode() for server in nameservers]
    return b"".join(line + b"\n" for line in kept)


def _freeze_root() -> None:
    flags = sys_.MS_BIND | sys_.MS_REMOUNT | sys_.MS_RDONLY | _QUIET
    sys_.mount(None, "/", None, flags)


# ---------------------------------------------------------------- what each instance has of its own


def private_mounts(own_proc: bool) -> list[sys_.PlannedMount]:
    """What each instance mounts: a /tmp, a /dev/shm and a /proc of its own. To be asked before
    the host's /proc goes out of sight."""
    shm = "size=64m,mode=1777"
    plan = [
        sys_.planned_mount("tmpfs", "/tmp", "tmpfs", _QUIET, tmp_options(DEFAULT_TMP_MIB)),  # noqa: S108
        sys_.planned_mount("tmpfs", "/dev/shm", "tmpfs", _QUIET, shm),  # noqa: S108
    ]
    return plan + _proc_mounts() if own_proc else plan


def mount_private(plan: list[sys_.PlannedMount]) -> None:
    """Mount them, in the instance's own mount namespace."""
    for mount in plan:
        sys_.perform(mount)
    if os.path.isdir(WITNESS_PROC):
        sys_.detach(WITNESS_PROC)


def tmp_options(size_mib: int) -> str:
    """Mount options of a /tmp: a file costs memory too, hence a bound on their number."""
    return f"size={size_mib}m,nr_inodes={size_mib * 256},mode=1777"


def _proc_mounts() -> list[sys_.PlannedMount]:
    """A /proc of the instance's pid namespace, without what tells of the host or steers it."""
    flags = _QUIET | sys_.MS_NOEXEC
    plan = [sys_.planned_mount("proc", "/proc", "proc", flags, "hidepid=invisible")]
    for name in _MASKED:
        path = "/proc/" + name
        if os.path.isdir(path):
            plan.append(
                sys_.planned_mount("tmpfs", path, "tmpfs", flags | sys_.MS_RDONLY, "size=4k")
            )
        elif os.path.exists(path):
            plan.append(sys_.planned_mount("/dev/null", path, None, sys_.MS_BIND))
    for name in _READ_ONLY:
        path = "/proc/" + name
        if os.path.isdir(path):
            again = sys_.MS_BIND | sys_.MS_REMOUNT | sys_.MS_RDONLY | flags
            plan.append(sys_.planned_mount(path, path, None, sys_.MS_BIND))
            plan.append(sys_.planned_mount(None, path, None, again))
    return plan
