"""The process sandbox where the machine allows less: ordinary users, containers, none at all."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

import samovar
from samovar.model.isolation import Layer
from samovar.sandbox.process import interpreters
from samovar.sandbox.process.resources import server_name
from tests.traces import mounts_naming

PYTHON = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
TESTS = Path(__file__).parent.parent
SEES_ITS_CODE = "answer = open(root + '/greeting.txt').read()"
KNOWS_ITSELF = "import os; answer = [os.getpid(), os.getuid()]"
LIMIT_S = 60

pytestmark = pytest.mark.skipif(
    not Path(PYTHON).exists(), reason="needs a Python that every user can run"
)


@dataclass
class Place:
    """A directory that every user can enter, with the code to run."""

    path: Path

    def life(self, *, uid: int = 0, **settings: Any) -> list[dict[str, Any]]:
        """Run a sandbox as this user; return what it told."""
        data_dir = self.path / "data"
        data_dir.mkdir()
        os.chown(data_dir, uid, uid)
        full = {
            "path": [str(self.path)],
            "data_dir": str(data_dir),
            "mode": "auto",
            "blanks": 2,
            "runtime": Path(PYTHON).name,
            "scripts": [SEES_ITS_CODE, SEES_ITS_CODE, KNOWS_ITSELF],
            "stay": "",
            "forks": None,
            "contained": False,
        } | settings
        script = self.path / "tests/integration/sandbox_life.py"
        done = subprocess.run(
            [PYTHON, "-I", str(script), json.dumps(full)],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            **({"user": uid, "group": uid, "extra_groups": []} if uid else {}),
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def place() -> Iterator[Place]:
    path = Path(tempfile.mkdtemp(prefix="samovar-modes-"))
    path.chmod(0o755)
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(Path(samovar.__file__).parent, path / "samovar", ignore=ignore)
    shutil.copytree(Path(msgspec.__file__).parent, path / "msgspec", ignore=ignore)
    for part in ("contract", "integration"):
        (path / "tests" / part).mkdir(parents=True)
    for name in (
        *("traces.py", "contract/sandbox_client.py", "contract/script_loop.py"),
        "integration/sandbox_life.py",
    ):
        shutil.copy(TESTS / name, path / "tests" / name)
    try:
        yield Place(path)
        assert mounts_naming(str(path)) == []
    finally:
        shutil.rmtree(path)


@pytest.fixture
def stranger() -> Iterator[int]:
    """A uid that nobody has; it must have no process left at the end."""
    if os.geteuid() != 0:
        pytest.skip("needs root: to become another user")
    uid = 61_000 + os.getpid() % 1000
    yield uid
    assert processes_of(uid) == []


def processes_of(uid: int) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            status = (entry / "status").read_text()
            if f"\nUid:\t{uid}\t" in status:
                found.append(f"{entry.name} {status.splitlines()[0]}")
    return found


def in_plain_words(missing: dict[str, str]) -> bool:
    return all(why and "Errno" not in why and "Error:" not in why for why in missing.values())


@pytest.mark.parametrize("blanks", [0, 2])
def test_an_ordinary_user_has_namespaces_without_uids_of_their_own(place, stranger, blanks):
    told, *answers = place.life(uid=stranger, blanks=blanks)
    if Layer.MOUNTS not in told["layers"]:
        pytest.skip("this machine has no user namespaces for ordinary users")
    assert {"mounts", "processes", "capabilities", "seccomp"} <= set(told["layers"])
    assert {"user", "network"} <= set(told["missing"])
    assert in_plain_words(told["missing"])
    assert [told["answer"] for told in answers] == ["hello", "hello", [2, 0]]
    assert all(told["peak"] > 0 for told in answers)


@pytest.mark.parametrize("blanks", [0, 2])
def test_root_in_a_container_without_privileges_can_still_run_functions(place, blanks):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    told, *answers = place.life(contained=True, blanks=blanks)
    assert {"mounts", "processes", "network"} <= set(told["missing"])
    assert {"capabilities", "seccomp"} <= set(told["layers"])
    assert in_plain_words(told["missing"])
    assert [told.get("answer") for told in answers[:2]] == ["hello", "hello"], answers


@pytest.mark.parametrize("blanks", [0, 2])
def test_a_user_in_a_container_without_privileges_can_still_run_functions(place, stranger, blanks):
    told, *answers = place.life(uid=stranger, contained=True, blanks=blanks)
    assert {"mounts", "processes", "user", "network"} <= set(told["missing"])
    assert in_plain_words(told["missing"])
    assert [told.get("answer") for told in answers[:2]] == ["hello", "hello"], answers


@pytest.mark.parametrize("blanks", [0, 2])
def test_without_isolation_a_function_runs_as_the_server_itself(place, stranger, blanks):
    told, *answers = place.life(uid=stranger, mode="none", blanks=blanks)
    assert told["layers"] == []
    assert set(told["missing"]) == set(Layer)
    assert [told.get("answer") for told in answers[:2]] == ["hello", "hello"]
    assert answers[2]["answer"][1] == stranger


def test_an_instance_with_a_uid_of_its_own_reads_its_code_without_mounts_too(place):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    script = (
        "import os\n"
        "answer = [os.getuid() > 0, open(root + '/greeting.txt').read(), os.listdir(root)]\n"
        "answer.append(open(opt + '/tea.txt').read())\n"
        "for path in (root + '/new', opt + '/new', os.path.dirname(root) + '/new'):\n"
        "    try: open(path, 'w')\n"
        "    except OSError as error: answer.append(type(error).__name__)\n"
        "try: answer.append(os.listdir(os.path.dirname(root)))\n"
        "except OSError as error: answer.append(type(error).__name__)"
    )
    told, *answers = place.life(contained=True, scripts=[script, script])
    assert "user" in told["layers"]
    read = [True, "hello", ["greeting.txt"], "green"]
    assert [told["answer"] for told in answers] == [[*read, *["PermissionError"] * 4]] * 2
    copies = f"samovar-{server_name(place.path / 'data')}-*"
    assert list(Path(tempfile.gettempdir()).glob(copies)) == []


def test_a_uid_without_a_name_has_interpreters_too(place, stranger):
    assert processes_of(stranger) == []
    assert Path(PYTHON).name in interpreters.find("")
    answer = place.life(uid=stranger, mode="none", scripts=[KNOWS_ITSELF])[1]
    assert answer["answer"][1] == stranger


@pytest.mark.parametrize(
    "settings",
    [{}, {"mode": "none"}, {"blanks": 0}],
    ids=["user", "none", "on-demand"],
)
def test_templates_are_forked_without_root_too(place, stranger, settings):
    script = "answer = [kept, open(root + '/greeting.txt').read()]"
    told = place.life(uid=stranger, scripts=[], forks=["kept = 41 + 1", script], **settings)
    assert told[-1] == {"answer": [42, "hello"]}


def test_where_nothing_may_be_traced_there_are_no_templates_and_it_says_so(place, stranger):
    told = place.life(uid=stranger, contained=True, scripts=[])
    assert "ptrace" in told[0]["snapshots"]
