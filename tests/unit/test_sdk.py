"""Which interpreters see the AWS SDK, and where it lies."""

from __future__ import annotations

from pathlib import Path

from samovar.sandbox.process import sdk


def test_every_part_is_there_and_is_no_link():
    places = sdk.find().places
    assert {"/var/runtime/boto3", "/var/runtime/six.py"} < set(places)
    for path in map(Path, places.values()):
        assert path.exists()
        assert path == path.resolve()


def test_an_interpreter_that_is_too_old_for_it_does_not_see_it():
    found = sdk.Sdk({"/var/runtime/boto3": "/x/boto3"}, oldest_minor=10)
    assert not found.shown_to("/usr/bin/python3.9")
    assert found.shown_to("/usr/bin/python3.10") == found.shown_to("/opt/python3.14") != {}


def test_what_it_needs_is_what_its_packages_say():
    assert sdk.find().oldest_minor >= 9
