"""AWS's REST-JSON protocol, server side, driven by botocore's service models.

    service = ServiceModel.load("lambda")
    match = service.route(method, path, query)            # None: UNKNOWN_OPERATION
    params = parse_request(match, query, headers, body)   # raises SERIALIZATION
    validate(match.operation, params)                     # raises VALIDATION, INVALID_PARAMETER
    response = serialize_response(match.operation, result)
    response = serialize_error(service, error, request_id)

Pure: bytes and strings in, values out. No operation is known by name here.
"""

from __future__ import annotations

from samovar.awsproto.errors import error_response, serialize_error
from samovar.awsproto.operation import Match, Operation
from samovar.awsproto.parse import parse_request
from samovar.awsproto.serialize import Response, serialize_response
from samovar.awsproto.service import ServiceModel
from samovar.awsproto.validate import validate

__all__ = [
    "Match",
    "Operation",
    "Response",
    "ServiceModel",
    "error_response",
    "parse_request",
    "serialize_error",
    "serialize_response",
    "validate",
]
