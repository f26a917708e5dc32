"""A function and files: the host's, its own code's, another function's."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from samovar.model.isolation import Layer
from tests.security.conftest import ROOT, Attempts

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.root]

MOUNTS = frozenset({Layer.MOUNTS})
FILES = frozenset({Layer.MOUNTS, Layer.LANDLOCK})


@pytest.fixture
def secret() -> Iterator[Path]:
    """A file of the host that anybody on it may read."""
    path = Path(f"/var/tmp/samovar-secret-{uuid.uuid4().hex}")
    path.write_text("tea")
    path.chmod(0o644)
    yield path
    path.unlink()


async def test_a_function_cannot_read_the_hosts_files(attempts: Attempts, secret: Path) -> None:
    script = f"answer = attempt(read, {str(secret)!r})"
    assert await attempts.inside(script) == "ENOENT"
    assert await attempts.without(MOUNTS, script) == "EACCES"  # Landlock, the second line
    assert await attempts.without(FILES, script) == "tea"


async def test_a_function_sees_no_passwords_of_the_host(attempts: Attempts) -> None:
    script = "answer = [attempt(read, '/etc/shadow'), 'games:' in read('/etc/passwd')]"
    assert await attempts.inside(script) == ["ENOENT", False]
    shadow, host_users = await attempts.without(FILES | ROOT, script)
    assert "root:" in shadow
    assert host_users


async def test_a_function_sees_only_a_few_directories(attempts: Attempts) -> None:
    script = (
        "answer = [d for d in ('home', 'root', 'sys', 'boot', 'run') if os.path.exists('/' + d)]"
    )
    assert await attempts.inside(script) == []
    assert "sys" in await attempts.without(FILES, script)


@pytest.fixture
def open_directory(tmp_path: Path) -> Path:
    """A directory that anybody may write to."""
    tmp_path.chmod(0o777)
    return tmp_path


@pytest.fixture
def path_in_tmp() -> Iterator[str]:
    """A path that no other test uses, for /tmp is the host's in some of these."""
    path = Path(f"/tmp/samovar-test-{uuid.uuid4().hex}")
    yield str(path)
    path.unlink(missing_ok=True)


@pytest.mark.parametrize("path", ["/evil", "/usr/evil", "/etc/evil", "/dev/evil", "/proc/evil"])
async def test_a_function_cannot_write_outside_its_tmp(attempts: Attempts, path: str) -> None:
    """Not even as root: the file systems are read-only."""
    script = f"answer = attempt(write, {path!r}, 'x')"
    assert await attempts.inside(script) in ("EROFS", "EACCES", "ENOENT")
    root_in_there = await attempts.without(ROOT | {Layer.LANDLOCK}, script)
    assert root_in_there in ("EROFS", "ENOENT")


async def test_a_function_cannot_write_its_code(attempts: Attempts, open_directory: Path) -> None:
    script = "answer = attempt(write, '/var/task/evil.py', 'x')"
    assert await attempts.inside(script, code=open_directory) == "EROFS"
    evil = open_directory / "evil.py"
    script = f"answer = attempt(write, {str(evil)!r}, 'x')"
    assert await attempts.without(FILES | ROOT, script, code=open_directory) == 1


async def test_a_function_cannot_read_anothers_tmp(attempts: Attempts, path_in_tmp: str) -> None:
    leave = f"answer = attempt(write, {path_in_tmp!r}, 'tea')"
    look = f"answer = attempt(read, {path_in_tmp!r})"
    async with attempts.instance() as one, attempts.instance() as other:
        assert await one.run(leave) == 3
        assert await other.run(look) == "ENOENT"
    async with attempts.instance(MOUNTS) as one, attempts.instance(MOUNTS) as other:
        assert await one.run(leave) == 3
        assert await other.run(look) == "tea"


async def test_nothing_of_a_tmp_is_left_for_the_next_instance(attempts: Attempts) -> None:
    assert await attempts.inside("answer = attempt(write, '/tmp/left', 'tea')") == 3
    assert await attempts.inside("answer = os.listdir('/tmp')") == []


async def test_tmp_takes_no_more_than_it_may(attempts: Attempts, path_in_tmp: str) -> None:
    script = f"""
def fill():
    with open({path_in_tmp!r}, "wb", buffering=0) as file:
        for _ in range(24):
            file.write(bytes(1 << 20))
answer = attempt(fill)
"""
    assert await attempts.inside(script, ephemeral_storage_mib=16) == "ENOSPC"
    assert await attempts.without(MOUNTS, script, ephemeral_storage_mib=16) == "done"


async def test_a_function_cannot_mount(attempts: Attempts) -> None:
    script = "answer = call(165, b'none', b'/tmp', b'tmpfs', 0, b'')"
    assert await attempts.inside(script) == "EPERM"
    assert await attempts.without(frozenset({Layer.SECCOMP}), script) == "EPERM"  # no capability
    mighty = ROOT | {Layer.SECCOMP, Layer.LANDLOCK}
    assert await attempts.without(mighty, script) == 0


async def test_a_function_cannot_make_devices(attempts: Attempts) -> None:
    script = """
import stat
made = attempt(os.mknod, "/tmp/disk", 0o666 | stat.S_IFBLK, os.makedev(254, 0))
answer = [made, attempt(os.open, "/tmp/disk", os.O_RDONLY)]
"""
    landlock = frozenset({Layer.LANDLOCK})
    assert await attempts.inside(script) == ["EACCES", "ENOENT"]
    assert await attempts.without(landlock, script) == ["EPERM", "ENOENT"]  # no capability
    # Root could, and could still not use it: /tmp takes no devices.
    assert await attempts.without(landlock | ROOT, script) == ["done", "EACCES"]


@pytest.mark.parametrize("name", ["kcore", "kallsyms", "sysrq-trigger", "timer_list"])
async def test_what_tells_of_the_kernel_is_masked(attempts: Attempts, name: str) -> None:
    script = f"answer = os.path.exists('/proc/{name}') and os.stat('/proc/{name}').st_rdev"
    assert await attempts.inside(script) in (False, os.makedev(1, 3))  # /dev/null
    assert await attempts.without(FILES, script) in (False, 0)


async def test_a_function_cannot_change_kernel_settings(attempts: Attempts) -> None:
    script = "answer = attempt(os.open, '/proc/sys/kernel/hostname', os.O_WRONLY)"
    assert await attempts.inside(script) in ("EACCES", "EROFS")
    assert await attempts.without(ROOT | {Layer.LANDLOCK}, script) == "EROFS"
    assert isinstance(await attempts.without(FILES | ROOT, script), int)


async def test_a_function_does_not_see_what_others_read(attempts: Attempts) -> None:
    """The files of /usr are the same for all: the host, too."""
    opened_or_read = 0x20 | 0x1
    watch = f"""
fd = libc.inotify_init1(os.O_NONBLOCK)
answer = call(254, fd, b"/usr/bin/env", {opened_or_read})
"""
    read = "answer = len(read('/usr/bin/env'))"
    async with attempts.instance() as one, attempts.instance() as other:
        assert await one.run(watch) == "EPERM"
        assert await other.run(read) > 0
        assert await one.run("answer = attempt(os.read, fd, 4096)") == "EAGAIN"
    seccomp = frozenset({Layer.SECCOMP})
    async with attempts.instance(seccomp) as one, attempts.instance(seccomp) as other:
        assert await one.run(watch) == 0
        assert await other.run(read) > 0
        assert await one.run("answer = attempt(os.read, fd, 4096)") != "EAGAIN"
