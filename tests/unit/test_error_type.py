"""The type of an error, from documents that hostile functions write."""

from __future__ import annotations

import json

import pytest

from samovar.model.invocation import error_type_of


@pytest.mark.parametrize("known", ["KeyError", "App::Error", "java.lang.Error", "x" * 128])
def test_a_type_is_told_in_whatever_language_it_is(known):
    assert error_type_of(json.dumps({"errorType": known}).encode(), "T") == known


@pytest.mark.parametrize(
    "document",
    [
        *(b"", b"{", b"[]", b"1", b"{}", b"\xff", b"[" * 100_000),
        *(b'{"errorType": 1}', b'{"errorType": ""}', b'{"errorType": ["a"]}'),
        b'{"errorType": "A\\tInit Duration: 1"}',
        b'{"errorType": "A\\n"}',
        b'{"errorType": "\\u00e9"}',
        json.dumps({"errorType": "x" * 129}).encode(),
    ],
)
def test_what_could_pass_for_something_else_is_no_type(document):
    assert error_type_of(document, "T") == "T"
