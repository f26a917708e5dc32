"""Who calls: account and region, from a SigV4 signature's scope.

Any credentials are accepted for now; a request without any is refused, as AWS refuses it. What
keeps web pages away is in `origin.py`.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import FunctionId

DEFAULT_ACCOUNT = "000000000000"

_SCOPE = r"([^/,\s]{1,256})/\d{8}/([a-z0-9-]{1,64})/[a-z0-9-]+/aws4_request"
_CREDENTIAL = re.compile(rf"AWS4-[A-Z0-9-]+ (?:.*[, ])?Credential={_SCOPE}")
"""One way to match each text: with a second repetition before `Credential` a hostile header would
cost the square or cube of its length."""
_QUERY_CREDENTIAL = re.compile(_SCOPE)
_ACCOUNT_ID = re.compile(r"\d{12}", re.ASCII)


class Caller(NamedTuple):
    """On whose behalf a request acts."""

    account: str
    region: str

    def function(self, name: str) -> FunctionId:
        """The caller's function of that name."""
        return FunctionId(self.account, self.region, name)


def authenticate(headers: Mapping[str, str], query: Mapping[str, list[str]]) -> Caller:
    """Return the caller. Raises MISSING_TOKEN or INCOMPLETE_SIGNATURE."""
    header = headers.get("authorization")
    if header is not None:
        match = _CREDENTIAL.match(header)
    elif "X-Amz-Credential" in query:
        match = _QUERY_CREDENTIAL.fullmatch(unquote(query["X-Amz-Credential"][0]))
    else:
        raise PlatformError(ErrorCode.MISSING_TOKEN, "Missing Authentication Token")
    if match is None:
        raise PlatformError(
            ErrorCode.INCOMPLETE_SIGNATURE,
            "Authorization header requires a SigV4 'Credential' parameter of the form "
            "<access-key-id>/<date>/<region>/<service>/aws4_request.",
        )
    key_id, region = match.groups()
    return Caller(key_id if _ACCOUNT_ID.fullmatch(key_id) else DEFAULT_ACCOUNT, region)
