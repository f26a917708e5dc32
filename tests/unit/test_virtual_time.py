"""The event loop whose time jumps."""

from __future__ import annotations

import asyncio
import time

import pytest

from samovar.simulator.virtual_time import StuckError, run

DAY_S = 86400.0


def now() -> float:
    return asyncio.get_running_loop().time()


async def until(moment: float) -> None:
    await asyncio.sleep(moment - now())


def test_a_thousand_days_take_no_time() -> None:
    async def main() -> float:
        for day in range(1000):
            await until((day + 1) * DAY_S)
        return now()

    begun = time.monotonic()
    assert run(main()) == pytest.approx(1000 * DAY_S)
    assert time.monotonic() - begun < 60.0  # not 1000 days


def test_timers_are_called_in_their_order_each_at_its_time() -> None:
    called: list[tuple[float, str]] = []

    async def note(moment: float, name: str) -> None:
        await until(moment)
        called.append((now(), name))

    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            for moment, name in ((7.0, "c"), (0.5, "a"), (1e5, "e"), (7.5, "d"), (6.999, "b")):
                tasks.create_task(note(moment, name))

    run(main())
    assert [name for _, name in called] == ["a", "b", "c", "d", "e"]
    assert [at for at, _ in called] == pytest.approx([0.5, 6.999, 7.0, 7.5, 1e5], abs=1e-5)


def test_what_is_ready_runs_before_time_goes_on() -> None:
    async def main() -> float:
        for _ in range(1000):
            await asyncio.sleep(0)
        return now()

    assert run(main()) == 0.0


def test_who_is_cancelled_does_not_keep_the_time_from_going_on() -> None:
    async def main() -> float:
        async with asyncio.TaskGroup() as tasks:
            sleeper = tasks.create_task(until(DAY_S))
            await until(5.0)
            sleeper.cancel()
        return now()

    assert run(main()) == pytest.approx(5.0)


def test_time_outs_are_virtual_too() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600.0):
                await until(DAY_S)
        return now()

    assert run(main()) == pytest.approx(3600.0)


def test_threads_may_still_answer() -> None:
    async def main() -> int:
        tick = asyncio.get_running_loop().create_task(until(DAY_S))
        answer = asyncio.get_running_loop().run_in_executor(None, int, "5")
        await tick
        return await answer

    assert run(main()) == 5


def test_what_can_never_go_on_is_an_error() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(StuckError):
        run(main())
