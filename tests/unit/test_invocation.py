"""What the platform reads of what an instance says."""

from __future__ import annotations

import pytest

from samovar.model.invocation import error_type_of


@pytest.mark.parametrize(
    ("document", "found"),
    [
        (b'{"errorType": "Tea.Cold", "errorMessage": 5, "own": [1]}', "Tea.Cold"),
        (b'{"errorType": ["Tea.Cold"]}', "?"),
        (b'{"errorType": "two words"}', "?"),
        (b'{"errorMessage": "x"}', "?"),
        (b'{"errorType":[' + b"[]," * 500_000 + b"[]]}", "?"),
        (b'{"own":' + b"[" * 500_000, "?"),
        (b'{"errorType": "\xff"}', "?"),
        (b"", "?"),
    ],
)
def test_the_type_of_an_error_is_found_in_whatever_an_instance_says(document, found):
    assert error_type_of(document, "?") == found
