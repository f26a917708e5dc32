from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from samovar.guest import wire
from tests.unit.guest.zygote import (
    INTERPRETERS,
    Instance,
    StartInstance,
    Zygote,
)


@pytest.fixture(scope="session", params=INTERPRETERS)
def zygote(request: pytest.FixtureRequest) -> Iterator[Zygote]:
    zygote = Zygote(INTERPRETERS[request.param])
    yield zygote
    zygote.close()


@pytest.fixture
def fork(zygote: Zygote, tmp_path: Path) -> Iterator[StartInstance]:
    """Make an instance with `source` as app.py (and other files), before its init."""
    instances = []

    def fork(source: str = "", *, control_fd: int | None = None, **files: str) -> Instance:
        (tmp_path / "app.py").write_text(textwrap.dedent(source))
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        instances.append(Instance(zygote, tmp_path, control_fd))
        return instances[-1]

    yield fork
    for instance in instances:
        instance.close()


@pytest.fixture
def start(fork: StartInstance) -> StartInstance:
    """Make an instance that is ready for invocations of `handler` in `source`."""

    def start(source: str, env: dict[str, str] | None = None, **files: str) -> Instance:
        instance = fork(source, **files)
        answer = instance.init(env=env)
        assert (answer.kind, list(answer.meta), answer.body) == (wire.READY, ["init_ms"], b"")
        return instance

    return start
