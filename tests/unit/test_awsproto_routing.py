"""From method, path and query to an operation."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from samovar.awsproto import ServiceModel
from samovar.awsproto.operation import Operation
from samovar.awsproto.router import Router

LAMBDA = ServiceModel.load("lambda")
ARN = "arn:aws:lambda:us-east-1:000000000000:function:f:live"


def operation(name: str, method: str, uri: str) -> Operation:
    return Operation(name, method, uri, 200, None, None, ())


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/2015-03-31/functions", "ListFunctions"),
        ("POST", "/2015-03-31/functions", "CreateFunction"),
        ("GET", "/2015-03-31/functions/f", "GetFunction"),
        ("DELETE", "/2015-03-31/functions/f", "DeleteFunction"),
        ("POST", "/2015-03-31/functions/f/invocations", "Invoke"),
        ("GET", "/2021-10-31/functions/f/urls", "ListFunctionUrlConfigs"),
        (
            "GET",
            "/2019-09-25/functions/f/event-invoke-config/list",
            "ListFunctionEventInvokeConfigs",
        ),
    ],
)
def test_a_request_finds_its_operation(method: str, path: str, expected: str) -> None:
    match = LAMBDA.route(method, path, {})

    assert match is not None
    assert match.operation.name == expected


def test_every_template_finds_its_own_operation() -> None:
    for name, found in LAMBDA.operations.items():
        path, _, query = found.uri.partition("?")
        fixed = {query.split("=")[0]: [query.split("=")[1]]} if query else {}
        match = LAMBDA.route(found.method, path.replace("{", "").replace("}", ""), fixed)
        assert match is not None
        assert match.operation.name == name


def test_a_label_may_hold_an_encoded_arn() -> None:
    match = LAMBDA.route("GET", f"/2015-03-31/functions/{quote(ARN, safe='')}/policy", {})

    assert match is not None
    assert match.path_params == {"FunctionName": ARN}


def test_a_label_may_hold_an_arn_as_it_is() -> None:
    match = LAMBDA.route("GET", f"/2015-03-31/functions/{ARN}", {})

    assert match is not None
    assert match.path_params == {"FunctionName": ARN}


def test_an_encoded_slash_does_not_part_segments() -> None:
    arn = ARN + "/durable-execution/a/b"

    match = LAMBDA.route("GET", f"/2025-12-01/durable-executions/{quote(arn, safe='')}/history", {})

    assert match is not None
    assert match.operation.name == "GetDurableExecutionHistory"
    assert match.path_params == {"DurableExecutionArn": arn}


def test_an_encoded_percent_sign_is_decoded_once() -> None:
    match = LAMBDA.route("GET", "/2017-03-31/tags/a%252Fb+c", {})

    assert match is not None
    assert match.path_params == {"Resource": "a%2Fb+c"}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, "GetProvisionedConcurrencyConfig"),
        ({"Qualifier": ["1"]}, "GetProvisionedConcurrencyConfig"),
        ({"List": ["ALL"]}, "ListProvisionedConcurrencyConfigs"),
        ({"List": ["all"]}, "GetProvisionedConcurrencyConfig"),
    ],
)
def test_a_fixed_query_tells_operations_apart(query: dict[str, list[str]], expected: str) -> None:
    match = LAMBDA.route("GET", "/2019-09-30/functions/f/provisioned-concurrency", query)

    assert match is not None
    assert match.operation.name == expected


def test_a_layer_by_arn_is_not_a_list_of_layers() -> None:
    by_arn = LAMBDA.route("GET", "/2018-10-31/layers", {"find": ["LayerVersion"], "Arn": ["a"]})
    listing = LAMBDA.route("GET", "/2018-10-31/layers", {})

    assert by_arn is not None
    assert listing is not None
    assert by_arn.operation.name == "GetLayerVersionByArn"
    assert listing.operation.name == "ListLayers"


def test_old_sdks_may_end_a_path_with_a_slash() -> None:
    match = LAMBDA.route("GET", "/2015-03-31/functions/", {})

    assert match is not None
    assert match.operation.name == "ListFunctions"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "//",
        "2015-03-31/functions",
        "/2015-03-31",
        "/2015-03-31/functions//invocations",
        "/2015-03-31/functions/f/invocations/x",
        "/2015-03-31/functions/a/b",
        "/" + "x/" * 100_000,
        "/2015-03-31/functions/" + "x" * 1_000_000,
    ],
    ids=lambda path: path[:40],
)
def test_what_the_model_does_not_have_is_no_operation(path: str) -> None:
    assert LAMBDA.route("GET", path, {}) is None


def test_another_method_is_another_operation_or_none() -> None:
    assert LAMBDA.route("PATCH", "/2015-03-31/functions/f", {}) is None


def test_the_most_literal_template_wins() -> None:
    router = Router(
        [
            operation("Any", "GET", "/{Key+}"),
            operation("One", "GET", "/{Name}"),
            operation("Fixed", "GET", "/list"),
            operation("Below", "GET", "/{Name}/acl"),
        ]
    )

    def name(path: str) -> str | None:
        match = router.route("GET", path, {})
        return match.operation.name if match else None

    assert [name("/list"), name("/x"), name("/x/acl"), name("/list/acl"), name("/x/y")] == [
        "Fixed",
        "One",
        "Below",
        "Below",
        "Any",
    ]


def test_a_greedy_label_takes_all_that_its_template_leaves() -> None:
    router = Router(
        [operation("Acl", "GET", "/b/{Key+}/acl"), operation("Get", "GET", "/b/{Key+}")]
    )

    acl = router.route("GET", "/b/x/acl/y%2Fz/acl", {})
    get = router.route("GET", "/b/x//y", {})

    assert acl is not None
    assert get is not None
    assert (acl.operation.name, acl.path_params) == ("Acl", {"Key": "x/acl/y/z"})
    assert (get.operation.name, get.path_params) == ("Get", {"Key": "x//y"})


def test_a_model_is_read_once() -> None:
    assert ServiceModel.load("lambda") is LAMBDA


def test_the_newest_version_of_a_model_is_the_default() -> None:
    assert LAMBDA.api_version == "2015-03-31"
    assert ServiceModel.load("lambda", "2014-11-11").route("GET", "/2014-11-13/functions/", {})


def test_a_service_that_botocore_lacks_cannot_be_loaded() -> None:
    with pytest.raises(FileNotFoundError):
        ServiceModel.load("no-such-service")


def test_a_service_of_another_protocol_cannot_be_loaded() -> None:
    with pytest.raises(ValueError, match="not a REST-JSON service"):
        ServiceModel.load("sqs")
