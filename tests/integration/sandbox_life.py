"""The life of a sandbox in a process of its own: started by tests as other users, or to be killed.

Usage: sandbox_life.py SETTINGS. It prints one JSON object a line: first what the sandbox is, then
what each script answered, then, if `stay` is set, nothing until stdin ends."""

import asyncio
import ctypes
import json
import os
import sys
from pathlib import Path

SETTINGS = json.loads(sys.argv[1])
sys.path[:0] = SETTINGS["path"]


def contain() -> None:
    """Be as in a container without privileges: no namespaces, mounts or the like."""
    from samovar.sandbox.process import seccomp, syscalls

    syscalls.no_new_privileges()
    seccomp._CLONE_DENIED = 0x7E020000  # as in Docker's profile: namespaces alone
    seccomp.install(ctypes.create_string_buffer(seccomp.build(os.uname().machine)))
    keep = {0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31}  # Docker's default capabilities
    libc = ctypes.CDLL(None)
    for capability in set(range(64)) - keep:
        libc.prctl(24, capability, 0, 0, 0)


def make_code() -> Path:
    code = Path(SETTINGS["data_dir"], "code", "0")
    code.mkdir(parents=True, exist_ok=True)
    code.parent.chmod(0o700)
    code.parent.parent.chmod(0o700)
    code.chmod(0o755)
    (code / "greeting.txt").write_text("hello")
    return code


def make_layers(code: Path) -> Path:
    layers = code.with_name("layers")
    layers.mkdir(exist_ok=True)
    layers.chmod(0o755)
    (layers / "tea.txt").write_text("green")
    return layers


async def main(code: Path) -> None:
    from tests.contract.sandbox_client import ScriptError, opened, running

    async with opened(
        Path(SETTINGS["data_dir"]), mode=SETTINGS["mode"], blanks=SETTINGS["blanks"]
    ) as sandbox:
        tell(
            layers=sorted(sandbox.isolation.layers),
            missing={str(layer): why for layer, why in sandbox.isolation.missing.items()},
            supervisor=sandbox.supervisor_pid,
            snapshots=sandbox.snapshots,
        )
        for script in SETTINGS["scripts"]:
            async with running(
                sandbox, code, layers_dir=make_layers(code), runtime=SETTINGS["runtime"]
            ) as client:
                try:
                    instance = client.instance
                    seen = f"root = {instance.task_root!r}; opt = {instance.layers_root!r}\n"
                    answer = await client.run(seen + script)
                    tell(answer=answer, peak=client.instance.peak_memory_bytes())
                except (ScriptError, EOFError) as error:
                    tell(failure=repr(error))
        if SETTINGS.get("forks"):
            await tell_of_fork(sandbox, code)
        if SETTINGS["stay"]:
            async with running(sandbox, code, runtime=SETTINGS["runtime"]) as client:
                await client.run(SETTINGS["stay"])
                tell(staying=True)
                await asyncio.to_thread(sys.stdin.read)


async def tell_of_fork(sandbox, code: Path) -> None:
    """What a script sees in a fork of a template in which another one ran."""
    from tests.contract.sandbox_client import Client, running, spec

    settings = {"runtime": SETTINGS["runtime"]}
    init, script = SETTINGS["forks"]
    async with running(sandbox, code, is_template=True, **settings) as template:
        await template.run(init + "; answer = None")
        await template.instance.freeze()
        fork = await sandbox.start(spec(code, template=template.instance.id, **settings))
        try:
            tell(answer=await Client(fork).run(f"root = {fork.task_root!r}\n{script}"))
        finally:
            await fork.stop()


def tell(**what: object) -> None:
    print(json.dumps(what), flush=True)


if SETTINGS["contained"]:
    contain()
    # A process has its capabilities until the next program.
    SETTINGS["contained"] = False
    os.execv(sys.executable, [sys.executable, "-I", __file__, json.dumps(SETTINGS)])
asyncio.run(main(make_code()))
