"""Every command that a document shows as runnable does what the document says."""

import os
import re
import signal
import subprocess
import uuid
from pathlib import Path

import pytest

from tests.documents import Step, sessions
from tests.server import Server, clean_environment, running

ROOT = Path(__file__).parents[2]
DOCUMENTED = "http://127.0.0.1:9000"
DOCUMENTED_RUNTIME = "python3.11"
DOCUMENTS = [
    path for path in sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]) if sessions(path)
]
DEADLINE_S = 120


@pytest.fixture(scope="module")
def server_with_examples(needs_wiring, tmp_path_factory):
    with running(
        tmp_path_factory.mktemp("documents") / "data", "--examples", "--test-controls"
    ) as started:
        yield started


def run_session(steps: list[Step], server: Server, folder: Path) -> list[str]:
    """Run the steps in one shell; return what each printed."""
    mark = f"--- {uuid.uuid4()}"
    script = "".join(f"{step.command}\necho '{mark}'\n" for step in steps)
    with subprocess.Popen(
        ["bash", "-c", _for_this_machine(script, server)],
        cwd=folder,
        env=clean_environment(SAMOVAR_ENDPOINT=server.endpoint, COLUMNS="200"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as shell:
        try:
            output, _ = shell.communicate(timeout=DEADLINE_S)
        except subprocess.TimeoutExpired as late:
            os.killpg(shell.pid, signal.SIGKILL)  # with what it has started
            output, _ = shell.communicate()
            logs = "".join(path.read_text() for path in sorted(folder.glob("*.log")))
            raise AssertionError(f"not done in time: {output.decode()}\n{logs}") from late
    printed = output.decode(errors="replace").replace(server.endpoint, DOCUMENTED)
    return printed.split(f"{mark}\n")[:-1]


def _for_this_machine(script: str, server: Server) -> str:
    runtime = server.newest_runtime()
    return script.replace(DOCUMENTED, server.endpoint).replace(DOCUMENTED_RUNTIME, runtime)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: os.path.relpath(path, ROOT))
def test_the_commands_of_a_document_print_what_it_says(document, server_with_examples, tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for steps in sessions(document):
        printed = run_session(steps, server_with_examples, tmp_path)
        for step, output in zip(steps, printed, strict=True):
            assert re.fullmatch(step.pattern, output), (
                f"{document.name}: $ {step.command}\n--- the document says\n{step.output}"
                f"--- it printed\n{output}"
            )


def test_a_deployed_example_answers_each_of_the_three_ways(server_with_examples):
    """The block that `samovar up` prints when it is ready: paste any of its lines."""
    server_with_examples.await_line("import boto3")  # the last
    block = "".join(server_with_examples.printed).partition("call it:\n")[2]
    commands = [line.strip() for line in block.splitlines() if line.startswith("    ")]
    assert len(commands) == 3
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command],
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert "Hello" in done.stdout, f"$ {command}\n{done.stdout}{done.stderr}"
