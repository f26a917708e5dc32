"""The filter on system calls that every instance runs under.

How this works. A classic BPF program (seccomp(2), Documentation/userspace-api/seccomp_filter.rst)
sees the number and the six raw arguments of each system call, and says what becomes of it. It is
an *allowlist*: what is written down below may be called, in the manner of the container runtimes'
default profiles, minus what a function has no need for. Pointers cannot be followed, so only
calls whose arguments are plain numbers are looked into (`socket`, `clone`, `ioctl`, ...).

What is not allowed fails in one of these ways:

- It does nothing and says that it did, where a function asks for what holds already.
- EPERM where the kernel would say so to an ordinary user anyway. Libraries expect it.
- ENOSYS for a number newer than this list (libc then falls back to the older call; EPERM would
  make it give up), and for `clone3`, whose flags lie behind a pointer: libc falls back to `clone`.
- The process is killed when it calls through another ABI than its own (i386, x32): their numbers
  mean other calls, and no honest program mixes them.

What is missing from the list, and why:

- mount, umount2, pivot_root, chroot, fsopen, fsmount, fsconfig, fspick, open_tree, open_tree_attr,
  move_mount, mount_setattr, statmount, listmount; unshare, setns, clone with a CLONE_NEW* flag:
  the view of the machine is given, and user namespaces are how most kernel holes are reached.
- clone with CLONE_PARENT: it makes children for the supervisor.
- ptrace, process_vm_*, process_madvise, kcmp, pidfd_getfd: one process inside another.
- bpf, perf_event_open, userfaultfd, io_uring_*, modify_ldt, vmsplice, fanotify_*: rich in past
  holes. io_setup & co.: besides, fs.aio-max-nr is one number for the whole host.
- add_key, keyctl, request_key: keyrings know no namespaces.
- kexec_*, *_module, reboot, swap*, quotactl*, acct, iopl, ioperm, syslog, sethostname,
  settimeofday, clock_settime, adjtimex, clock_adjtime, vhangup, open_by_handle_at, lsm_*: an
  administrator's.
- cachestat: what others have lately read of the files that all share (CVE-2025-21691).
- mbind, set_mempolicy, move_pages, migrate_pages: placement of memory on the host's nodes.

The program is a binary search over ranges of numbers (some eight comparisons); for calls decided by
number alone, the kernel (5.11 and later) evaluates it once at installation and remembers.

Imported by the zygote under any interpreter: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import struct
import sys
from typing import TYPE_CHECKING, Union

if TYPE_CHECKING:
    Code = ctypes.Array[ctypes.c_char]

# Each entry is `name:number on x86_64:number on aarch64`; empty where the machine lacks the call.
# From include/uapi/asm-generic/unistd.h and arch/x86/entry/syscalls/syscall_64.tbl.

_FILES = """
read:0:63 write:1:64 readv:19:65 writev:20:66 pread64:17:67 pwrite64:18:68 preadv:295:69
pwritev:296:70 preadv2:327:286 pwritev2:328:287 open:2: openat:257:56 openat2:437:437
creat:85: close:3:57 close_range:436:436 lseek:8:62 stat:4: fstat:5:80 lstat:6:
newfstatat:262:79 statx:332:291 access:21: faccessat:269:48 faccessat2:439:439
truncate:76:45 ftruncate:77:46 fallocate:285:47 fadvise64:221:223 readahead:187:213
sync:162:81 fsync:74:82 fdatasync:75:83 syncfs:306:267 sync_file_range:277:84 dup:32:23
dup2:33: dup3:292:24 fcntl:72:25 flock:73:32 sendfile:40:71 splice:275:76 tee:276:77
copy_file_range:326:285 getdents:78: getdents64:217:61
getcwd:79:17 chdir:80:49 fchdir:81:50 mkdir:83: mkdirat:258:34 rmdir:84: rename:82:
renameat:264:38 renameat2:316:276 link:86: linkat:265:37 unlink:87: unlinkat:263:35
symlink:88: symlinkat:266:36 readlink:89: readlinkat:267:78 mknod:133: mknodat:259:33
chmod:90: fchmod:91:52 fchmodat:268:53 fchmodat2:452:452 chown:92: fchown:93:55 lchown:94:
fchownat:260:54 umask:95:166 utime:132: utimes:235: futimesat:261: utimensat:280:88
statfs:137:43 fstatfs:138:44 setxattr:188:5 lsetxattr:189:6 fsetxattr:190:7 getxattr:191:8
lgetxattr:192:9 fgetxattr:193:10 listxattr:194:11 llistxattr:195:12 flistxattr:196:13
removexattr:197:14 lremovexattr:198:15 fremovexattr:199:16 setxattrat:463:463
getxattrat:464:464 listxattrat:465:465 removexattrat:466:466 inotify_init:253:
inotify_init1:294:26 inotify_rm_watch:255:28 memfd_create:319:279
"""
# mknod is how FIFOs are made; a device node needs a capability that instances lack.

_WAITING = """
poll:7: ppoll:271:73 select:23: pselect6:270:72 epoll_create:213: epoll_create1:291:20
epoll_ctl:233:21 epoll_wait:232: epoll_pwait:281:22 epoll_pwait2:441:441 eventfd:284:
eventfd2:290:19 signalfd:282: signalfd4:289:74 pipe:22: pipe2:293:59 timerfd_create:283:85
timerfd_settime:286:86 timerfd_gettime:287:87
"""

_MEMORY = """
mmap:9:222 munmap:11:215 mprotect:10:226 mremap:25:216 madvise:28:233 brk:12:214
msync:26:227 mincore:27:232 mlock:149:228 mlock2:325:284 munlock:150:229 mlockall:151:230
munlockall:152:231 remap_file_pages:216:234 membarrier:324:283 mseal:462:462
map_shadow_stack:453:453 pkey_alloc:330:289 pkey_free:331:290 pkey_mprotect:329:288
"""

_PROCESSES = """
fork:57: vfork:58: execve:59:221 execveat:322:281 exit:60:93 exit_group:231:94 wait4:61:260
waitid:247:95 kill:62:129 tkill:200:130 tgkill:234:131 pidfd_open:434:434
pidfd_send_signal:424:424 process_mrelease:448:448 getpid:39:172 getppid:110:173
gettid:186:178 getpgrp:111: getpgid:121:155 setpgid:109:154 getsid:124:156 setsid:112:157
getuid:102:174 geteuid:107:175 getgid:104:176 getegid:108:177 getresuid:118:148
getresgid:120:150 getgroups:115:158 setuid:105:146 setgid:106:144 setreuid:113:145
setregid:114:143 setresuid:117:147 setresgid:119:149 setfsuid:122:151 setfsgid:123:152
setgroups:116:159 capget:125:90 capset:126:91 prctl:157:167 arch_prctl:158:
set_tid_address:218:96 set_robust_list:273:99 get_robust_list:274:100 rseq:334:293
futex:202:98 futex_waitv:449:449 futex_wake:454:454 futex_wait:455:455 futex_requeue:456:456
restart_syscall:219:128 rt_sigaction:13:134 rt_sigprocmask:14:135 rt_sigpending:127:136
rt_sigtimedwait:128:137 rt_sigqueueinfo:129:138 rt_tgsigqueueinfo:297:240
rt_sigsuspend:130:133 rt_sigreturn:15:139 sigaltstack:131:132 pause:34: alarm:37:
sched_yield:24:124 sched_setparam:142:118 sched_getparam:143:121 sched_setscheduler:144:119
sched_getscheduler:145:120 sched_get_priority_max:146:125 sched_get_priority_min:147:126
sched_rr_get_interval:148:127 sched_setaffinity:203:122 sched_getaffinity:204:123
sched_setattr:314:274 sched_getattr:315:275 getpriority:140:141 setpriority:141:140
ioprio_get:252:31 ioprio_set:251:30 getrlimit:97:163
getrusage:98:165 times:100:153 getcpu:309:168 seccomp:317:277
landlock_create_ruleset:444:444 landlock_add_rule:445:445 landlock_restrict_self:446:446
"""
# The set*id and cap* calls, prctl, priorities: what matters in them asks for a capability, and no
# process has one nor can gain one (no_new_privs). seccomp and landlock can only take away; Chrome
# and Java's and Node's own sandboxes use them.

_CLOCKS = """
time:201: gettimeofday:96:169 clock_gettime:228:113 clock_getres:229:114
clock_nanosleep:230:115 nanosleep:35:101 getitimer:36:102 setitimer:38:103
timer_create:222:107 timer_settime:223:110 timer_gettime:224:108 timer_getoverrun:225:109
timer_delete:226:111
"""

_SOCKETS = """
connect:42:203 accept:43:202 accept4:288:242 bind:49:200 listen:50:201 getsockname:51:204
getpeername:52:205 getsockopt:55:209 sendto:44:206 recvfrom:45:207
sendmsg:46:211 recvmsg:47:212 sendmmsg:307:269 recvmmsg:299:243 shutdown:48:210
"""
# Making a socket is looked into below, and options; what else to do with one is not.

_IPC = """
shmget:29:194 shmat:30:196 shmctl:31:195 shmdt:67:197 semget:64:190 semop:65:193
semtimedop:220:192 semctl:66:191 msgget:68:186 msgsnd:69:189 msgrcv:70:188 msgctl:71:187
mq_open:240:180 mq_unlink:241:181 mq_timedsend:242:182 mq_timedreceive:243:183
mq_notify:244:184 mq_getsetattr:245:185
"""
# An instance has an ipc namespace of its own; multiprocessing and PostgreSQL's kin want these.

_SYSTEM = "uname:63:160 sysinfo:99:179 getrandom:318:278"

# socketpair before socket: it jumps into the latter's code, and BPF jumps forward only.
_LOOKED_INTO = "socketpair:53:199 socket:41:198 clone:56:220 clone3:435:435 ioctl:16:29 "
_LOOKED_INTO += "personality:135:92 setsockopt:54:208 inotify_add_watch:254:27 "
_LOOKED_INTO += "setrlimit:160:164 prlimit64:302:261"

NEWEST_KNOWN = 467
"""open_tree_attr (6.15), alike on every machine: above it, ENOSYS."""

_ALLOWED = " ".join(
    (_FILES, _WAITING, _MEMORY, _PROCESSES, _CLOCKS, _SOCKETS, _IPC, _SYSTEM)
).split()

# Documentation/userspace-api/seccomp_filter.rst; the low half of RET_ERRNO is the errno.
_RET_ERRNO = 0x00050000
_ANSWERS = {
    "allow": 0x7FFF0000,
    "ignore": _RET_ERRNO,
    "EPERM": _RET_ERRNO | errno.EPERM,
    "ENOSYS": _RET_ERRNO | errno.ENOSYS,
    "EAFNOSUPPORT": _RET_ERRNO | errno.EAFNOSUPPORT,
    "EPROTONOSUPPORT": _RET_ERRNO | errno.EPROTONOSUPPORT,
    "ENOPROTOOPT": _RET_ERRNO | errno.ENOPROTOOPT,
    "kill": 0x80000000,  # SECCOMP_RET_KILL_PROCESS
}

# linux/audit.h; on x86_64 bit 30 of the number says x32.
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_SECCOMP_NR = {"x86_64": 317, "aarch64": 277}
_X32_BIT = 0x40000000

# linux/bpf_common.h
_LD_W_ABS, _AND_K, _JMP_JEQ, _JMP_JGE, _JMP_JSET, _RET_K = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06

# struct seccomp_data: nr, arch, instruction_pointer (64 bit), args[6] (64 bit). The arguments that
# are looked at are ints, so the kernel, too, uses their low halves only (both machines here are
# little-endian).
_NR, _ARCH = 0, 4
_ARG0, _ARG1, _ARG2 = 16, 24, 32

_CLONE_DENIED = 0x7E020000 | 0x8000
"""CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}; NEWTIME cannot be said through clone(2). And
CLONE_PARENT: an instance's parent is the supervisor, which should have no work with its forks."""
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_SOCK_STREAM, _SOCK_DGRAM, _SOCK_SEQPACKET = 1, 2, 5
_SOCK_TYPE_MASK = 0xF
_IP_PROTOCOLS = (0, 6, 17, 1, 58)
"""default, TCP, UDP, and ping's two; so neither SCTP nor DCCP nor MPTCP (Go falls back)."""
_NETLINK_ROUTE, _NETLINK_SOCK_DIAG = 0, 4
"""getaddrinfo and getifaddrs ask the first for addresses; to change any needs a capability. The
second tells of all sockets of a network."""
_TIOCSTI, _TIOCSETD, _TIOCLINUX = 0x5412, 0x5423, 0x541C
_SOL_SOCKET, _SO_LINGER = 1, 13
_RLIMIT_CORE = 4
_IN_ACCESS, _IN_CLOSE_NOWRITE, _IN_OPEN = 0x1, 0x10, 0x20
_PERSONALITIES = (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)
"""PER_LINUX, PER_LINUX32, both with UNAME26, and the query: the container runtimes' list."""


_Jump = Union[int, str]  # noqa: UP007 - evaluated, so 3.9 must understand it
"""How many instructions to skip, or the label to go to."""


class _Program:
    """A BPF program in the making: (opcode, jump if true, jump if false, operand)."""

    def __init__(self) -> None:
        self.code: list[tuple[int, _Jump, _Jump, int]] = []
        self.at: dict[str, int] = {}

    def label(self, name: str) -> None:
        self.at[name] = len(self.code)

    def load(self, offset: int) -> None:
        self.code.append((_LD_W_ABS, 0, 0, offset))

    def mask(self, bits: int) -> None:
        self.code.append((_AND_K, 0, 0, bits))

    def jump(self, opcode: int, operand: int, if_true: _Jump, if_false: _Jump = 0) -> None:
        self.code.append((opcode, if_true, if_false, operand))

    def only(self, values: tuple[int, ...], then: _Jump, otherwise: _Jump) -> None:
        """Go to `then` when the loaded word is one of `values`, else to `otherwise`."""
        for value in values[:-1]:
            self.jump(_JMP_JEQ, value, then)
        self.jump(_JMP_JEQ, values[-1], then, otherwise)

    def finish(self) -> bytes:
        """Append the answers; return the kernel's array of `struct sock_filter`."""
        for name, value in _ANSWERS.items():
            self.label(name)
            self.jump(_RET_K, value, 0)
        out = []
        for here, (opcode, if_true, if_false, operand) in enumerate(self.code):
            jumps = [
                self.at[to] - here - 1 if isinstance(to, str) else to for to in (if_true, if_false)
            ]
            out.append(struct.pack("=HBBI", opcode, jumps[0], jumps[1], operand))
        return b"".join(out)


def _look_into(program: _Program, name: str, unix_sockets: bool, socket_tables: bool) -> None:
    """Emit what decides a call by its arguments; nothing for `clone3`."""
    program.label(name)
    if name == "clone":
        program.load(_ARG0)
        program.jump(_JMP_JSET, _CLONE_DENIED, "EPERM", "allow")
    elif name == "personality":
        program.load(_ARG0)
        program.only(_PERSONALITIES, "allow", "EPERM")
    elif name == "setsockopt":
        # Whoever closes a lingering socket last waits for it. A function could have the server do
        # that: descriptors that it sends over its channel are closed by who receives them.
        program.load(_ARG1)
        program.jump(_JMP_JEQ, _SOL_SOCKET, 0, "allow")
        program.load(_ARG2)
        program.jump(_JMP_JEQ, _SO_LINGER, "ENOPROTOOPT", "allow")
    elif name == "setrlimit":
        # No core dump is to be had: `blank` has seen to that, by a limit that must not be lowered.
        program.load(_ARG0)
        program.jump(_JMP_JEQ, _RLIMIT_CORE, "ignore", "allow")
    elif name == "prlimit64":
        program.load(_ARG1)
        program.jump(_JMP_JEQ, _RLIMIT_CORE, 0, "allow")
        for half in (_ARG2, _ARG2 + 4):  # the pointer to a new limit, if any
            program.load(half)
            program.jump(_JMP_JEQ, 0, 0, "ignore")
        program.jump(_JMP_JEQ, 0, "allow", "allow")
    elif name == "inotify_add_watch":
        # Files of /usr are the host's and every instance's: who reads which is theirs to know.
        program.load(_ARG2)
        program.jump(_JMP_JSET, _IN_ACCESS | _IN_CLOSE_NOWRITE | _IN_OPEN, "EPERM", "allow")
    elif name == "ioctl":
        # Typing into a terminal that is shared with the host; loading line disciplines.
        program.load(_ARG1)
        program.only((_TIOCSTI, _TIOCLINUX, _TIOCSETD), "EPERM", "allow")
    elif name == "socketpair":
        program.load(_ARG0)
        program.jump(_JMP_JEQ, _AF_UNIX, "type of pair", "EAFNOSUPPORT")
    elif name == "socket":
        # Families and types that programs use; no raw packets, no doors to kernel or hypervisor.
        program.load(_ARG0)
        program.jump(_JMP_JEQ, _AF_UNIX, "type of unix" if unix_sockets else "EAFNOSUPPORT")
        program.only((_AF_INET, _AF_INET6), "type of inet", 0)
        program.jump(_JMP_JEQ, _AF_NETLINK, "netlink", "EAFNOSUPPORT")
        program.label("type of inet")
        program.load(_ARG1)
        program.mask(_SOCK_TYPE_MASK)
        program.only((_SOCK_STREAM, _SOCK_DGRAM), "protocol of inet", "EPERM")
        program.label("protocol of inet")
        program.load(_ARG2)
        program.only(_IP_PROTOCOLS, "allow", "EPROTONOSUPPORT")
        program.label("netlink")
        program.load(_ARG2)
        protocols = (_NETLINK_ROUTE, _NETLINK_SOCK_DIAG) if socket_tables else (_NETLINK_ROUTE,)
        program.only(protocols, "allow", "EPROTONOSUPPORT")
        program.label("type of pair")
        if not unix_sockets:  # half a pair of datagram sockets can be connected elsewhere
            program.load(_ARG1)
            program.mask(_SOCK_TYPE_MASK)
            program.jump(_JMP_JEQ, _SOCK_DGRAM, "EPERM")
        program.label("type of unix")
        program.load(_ARG1)
        program.mask(_SOCK_TYPE_MASK)
        program.only((_SOCK_STREAM, _SOCK_DGRAM, _SOCK_SEQPACKET), "allow", "EPERM")


def _ranges(machine: str) -> list[tuple[int, str]]:
    """Return `(first number, label)` in ascending order, each valid up to the next."""
    column = 1 if machine == "x86_64" else 2
    labels = dict.fromkeys(range(NEWEST_KNOWN + 1), "EPERM")
    for entry in _ALLOWED:
        digits = entry.split(":")[column]
        if digits:
            labels[int(digits)] = "allow"
    for entry in _LOOKED_INTO.split():
        fields = entry.split(":")
        labels[int(fields[column])] = "ENOSYS" if fields[0] == "clone3" else fields[0]
    ranges: list[tuple[int, str]] = []
    for number, label in labels.items():
        if not ranges or ranges[-1][1] != label:
            ranges.append((number, label))
    return [*ranges, (NEWEST_KNOWN + 1, "ENOSYS")]


def _emit_search(program: _Program, ranges: list[tuple[int, str]]) -> str:
    """Emit the search among `ranges`, two at least; return its label."""
    middle = len(ranges) // 2
    here = f"from {ranges[0][0]} to {ranges[-1][0]}"
    program.label(here)
    at = len(program.code)
    program.jump(_JMP_JGE, ranges[middle][0], 0)
    below, above = (
        half[0][1] if len(half) == 1 else _emit_search(program, half)
        for half in (ranges[:middle], ranges[middle:])
    )
    program.code[at] = (_JMP_JGE, above, below, ranges[middle][0])
    return here


def build(machine: str, *, unix_sockets: bool = True, socket_tables: bool = False) -> bytes:
    """Return the program for `machine` (`x86_64` or `aarch64`); KeyError for any other.

    Without `unix_sockets`, unix sockets come as connected pairs only: where those of the host are
    in reach, by a path or an abstract name, to speak to a desktop, a session's bus or a container
    engine is to be its user. With `socket_tables`, the kernel may be asked whose a socket is:
    `guest.peers` has to, where the network is the host's (where it tells what it tells anybody)."""
    program = _Program()
    program.load(_ARCH)
    program.jump(_JMP_JEQ, _AUDIT_ARCH[machine], 0, "kill")
    program.load(_NR)
    if machine == "x86_64":
        # -1 has the x32 bit as well, but means "no call": tracers use it, and so do probes.
        program.jump(_JMP_JEQ, 0xFFFFFFFF, "ENOSYS")
        program.jump(_JMP_JGE, _X32_BIT, "kill")
    _emit_search(program, _ranges(machine))
    for entry in _LOOKED_INTO.split():
        _look_into(program, entry.split(":")[0], unix_sockets, socket_tables)
    return program.finish()


_libc = ctypes.PyDLL(None, use_errno=True)  # PyDLL: keeps the GIL, for a child fresh from clone3
_libc.syscall.restype = ctypes.c_long

_MACHINE = os.uname().machine
_SUPPORTED = _MACHINE in _AUDIT_ARCH and sys.maxsize > 1 << 32 and sys.byteorder == "little"


@functools.cache
def compiled(*, unix_sockets: bool = True, socket_tables: bool = False) -> Code:
    """The program for this machine, in memory, for `install`. Raises `OSError` ENOSYS where there
    is none."""
    if not _SUPPORTED:
        raise OSError(errno.ENOSYS, f"no system call filter for {_MACHINE}")
    program = build(_MACHINE, unix_sockets=unix_sockets, socket_tables=socket_tables)
    return ctypes.create_string_buffer(program)


def install(code: Code) -> None:
    """Put the calling thread, and all that it will start, under a filter, for ever.

    Call it after PR_SET_NO_NEW_PRIVS, in a process with one thread. Raises `OSError`: ENOSYS on a
    machine or kernel without it, EACCES without no_new_privs.
    """
    # struct sock_fprog: unsigned short len, padding, pointer
    program = struct.pack("@HP", (len(code) - 1) // 8, ctypes.addressof(code))
    result = _libc.syscall(
        ctypes.c_long(_SECCOMP_NR[_MACHINE]),
        ctypes.c_ulong(1),  # SECCOMP_SET_MODE_FILTER
        ctypes.c_ulong(0),  # flags
        ctypes.c_char_p(program),
    )
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"seccomp: {os.strerror(number)}")
