"""The states of an extension, against a model that knows nothing but the picture."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from samovar.guest.extension_state import ExtensionState, InvalidTransitionError

PICTURE = {
    ("Started", "register"): "Registered",
    ("Started", "fail_launch"): "LaunchError",
    ("Registered", "ready"): "Ready",
    ("Registered", "fail_init"): "InitError",
    ("Registered", "fail_exit"): "ExitError",
    ("Ready", "run"): "Running",
    ("Ready", "fail_exit"): "ExitError",
    ("Running", "ready"): "Ready",
    ("Running", "fail_exit"): "ExitError",
    ("InitError", "fail_init"): "InitError",
    ("ExitError", "fail_exit"): "ExitError",
}
CALLS = sorted({call for _, call in PICTURE})


@given(st.lists(st.sampled_from(CALLS)))
def test_it_moves_as_in_the_picture(calls: list[str]) -> None:
    state = ExtensionState("tea")
    for call in calls:
        before = state.name
        try:
            getattr(state, call)()
        except InvalidTransitionError as error:
            assert (before, call) not in PICTURE
            assert state.name == before
            assert f"State transition from {before} to " in str(error)
            assert "for extension tea. Error: State transition is not allowed" in str(error)
        else:
            assert state.name == PICTURE[before, call]


@given(st.booleans())
def test_who_went_before_it_was_given_an_event_may_ask_again(first: bool) -> None:
    state = ExtensionState("tea")
    state.register()
    state.ready()
    if not first:
        state.run()
        state.ready()
    state.withdraw()
    assert state.name == ("Registered" if first else "Running")
    state.ready()
