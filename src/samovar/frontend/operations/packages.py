"""Zips that clients give: of functions and of layers, in the request or in a bucket."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from samovar.frontend.operations.configuration import invalid
from samovar.frontend.operations.control import Control, Params
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import MAX_ZIP_BYTES, CodeRef


async def store_package(
    control: Control, operation: str, content: Params, *, noun: str, keep: bool = True
) -> CodeRef:
    """Check the package that a request has in `content` and keep it (unless not to `keep` it).

    Raises `PlatformError`: INVALID_PARAMETER, REQUEST_TOO_LARGE."""
    for member in ("ImageUri", "SourceKMSKeyArn", "S3ObjectVersion"):
        if content.get(member):
            raise invalid(f"{member} is not supported by this server.")
    package: bytes | None = content.get("ZipFile")
    if package is None:
        bucket, key = content.get("S3Bucket"), content.get("S3Key")
        if not bucket or not key:
            raise invalid(f"Please provide a source for {noun}.")
        package = await control.code.from_bucket(bucket, key)
    elif len(package) > MAX_ZIP_BYTES:
        raise PlatformError(
            ErrorCode.REQUEST_TOO_LARGE,
            f"Request must be smaller than {MAX_ZIP_BYTES} bytes for the {operation} operation",
        )
    unpacked_bytes = await control.inspect(package)
    if keep:
        code = await control.code.put(package)
    else:
        code = await asyncio.to_thread(CodeRef.of, package)
    return replace(code, unpacked_bytes=unpacked_bytes)


def package_url(control: Control, code: CodeRef) -> str:
    """Where a client can download it: `frontend/own.py` serves that."""
    return f"{control.base_url()}/_samovar/code/{code.sha256_hex}"
