"""Functions through an unmodified boto3: create, read, list, change, delete."""

from __future__ import annotations

import base64
import hashlib
import threading
import urllib.request
import uuid

import pytest
from botocore.exceptions import ClientError

from tests.aws.functions import HANDLER, ROLE, package

ECHO = "def handler(event, context): return event"


def error_of(raised: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    """The error's code and HTTP status."""
    response = raised.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def create(client, name: str, **config) -> dict:
    request = {"Runtime": "python3.11", "Role": ROLE, "Handler": HANDLER}
    request |= {"FunctionName": name, "Code": {"ZipFile": package(ECHO)}}
    return client.create_function(**(request | config))


def test_creating_answers_with_the_configuration_that_aws_gives(lambda_client, runtime):
    name = f"created-{uuid.uuid4().hex[:8]}"
    zipped = package(ECHO)
    answer = create(
        lambda_client,
        name,
        Runtime=runtime,
        Code={"ZipFile": zipped},
        Description="hello",
        Timeout=7,
        MemorySize=256,
        Environment={"Variables": {"KEY": "value"}},
        EphemeralStorage={"Size": 1024},
        Tags={"team": "tea"},
    )
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert answer["FunctionArn"] == f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
    assert answer["State"] == "Pending"
    assert answer["StateReasonCode"] == "Creating"
    assert answer["LastUpdateStatus"] == "Successful"
    assert answer["CodeSha256"] == base64.b64encode(hashlib.sha256(zipped).digest()).decode()
    assert answer["CodeSize"] == len(zipped)
    assert answer["Version"] == "$LATEST"
    assert answer["Environment"] == {"Variables": {"KEY": "value"}}
    assert answer["EphemeralStorage"] == {"Size": 1024}
    assert answer["PackageType"] == "Zip"
    assert answer["RevisionId"]
    read = lambda_client.get_function(FunctionName=name)
    assert read["Tags"] == {"team": "tea"}
    lambda_client.delete_function(FunctionName=name)


def test_the_code_location_downloads_the_package(lambda_client, make_function):
    name = make_function({"app.py": ECHO})
    location = lambda_client.get_function(FunctionName=name)["Code"]["Location"]
    with urllib.request.urlopen(location, timeout=10) as answer:
        assert answer.read() == package({"app.py": ECHO})


def test_every_waiter_of_the_client_ends(lambda_client, make_function):
    name = make_function(ECHO)
    lambda_client.update_function_code(FunctionName=name, ZipFile=package("x = 1\n" + ECHO))
    lambda_client.publish_version(FunctionName=name)
    assert len(lambda_client.waiter_names) >= 6
    for waiter in lambda_client.waiter_names:
        qualifier = {"Qualifier": "1"} if "published" in waiter else {}
        lambda_client.get_waiter(waiter).wait(
            FunctionName=name, **qualifier, WaiterConfig={"Delay": 0.1, "MaxAttempts": 100}
        )


def test_a_name_that_exists_is_a_conflict(lambda_client, make_function):
    name = make_function(ECHO)
    with pytest.raises(lambda_client.exceptions.ResourceConflictException) as raised:
        create(lambda_client, name)
    assert error_of(raised) == ("ResourceConflictException", 409)
    assert f"Function already exist: {name}" in str(raised.value)


def test_of_two_creates_of_one_name_at_once_one_wins(client_of):
    name = f"race-{uuid.uuid4().hex[:8]}"
    outcomes = []

    def attempt():
        try:
            create(client_of(), name)
            outcomes.append("created")
        except ClientError as error:
            outcomes.append(error.response["Error"]["Code"])

    threads = [threading.Thread(target=attempt) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["ResourceConflictException"] * 3 + ["created"]
    client_of().delete_function(FunctionName=name)


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"FunctionName": "no spaces"}, "ValidationException", "functionName"),
        ({"FunctionName": "x" * 65}, "ValidationException", "functionName"),
        ({"Runtime": "cobol1"}, "InvalidParameterValueException", "cobol1"),
        ({"Runtime": "ruby3.4"}, "InvalidParameterValueException", "ruby3.4"),
        ({"MemorySize": 64}, "ValidationException", "memorySize"),
        ({"MemorySize": 10241}, "ValidationException", "less than or equal to 10240"),
        ({"Timeout": 0}, "ValidationException", "timeout"),
        ({"Timeout": 901}, "ValidationException", "less than or equal to 900"),
        ({"Role": "nobody"}, "ValidationException", "role"),
        ({"Handler": "a b"}, "ValidationException", "handler"),
        ({"EphemeralStorage": {"Size": 1}}, "ValidationException", "ephemeralStorage"),
        ({"Architectures": ["arm64"]}, "InvalidParameterValueException", "arm64"),
        ({"Code": {"ZipFile": b"not a zip"}}, "InvalidParameterValueException", "unzip"),
        ({"Code": {}}, "InvalidParameterValueException", "source for function code"),
        ({"Layers": ["arn:aws:lambda:us-east-1:000000000000:layer:x:1"]},
         "InvalidParameterValueException", "does not exist"),
        ({"TracingConfig": {"Mode": "Active"}}, "InvalidParameterValueException", "TracingConfig"),
        ({"VpcConfig": {"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}},
         "InvalidParameterValueException", "VpcConfig"),
        ({"Environment": {"Variables": {"AWS_REGION": "x"}}},
         "InvalidParameterValueException", "reserved keys"),
        ({"Environment": {"Variables": {"BIG": "x" * 4097}}},
         "InvalidParameterValueException", "4KB"),
        ({"Code": {"S3Bucket": "nobucket", "S3Key": "k"}},
         "InvalidParameterValueException", "NoSuchBucket"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_and_leaves_nothing(lambda_client, client_of, change, code, words):
    name = f"bad-{uuid.uuid4().hex[:8]}"
    with pytest.raises(ClientError) as raised:
        create(client_of(parameter_validation=False), name, **change)
    assert raised.value.response["Error"]["Code"] == code
    assert words in str(raised.value)
    with pytest.raises(lambda_client.exceptions.ResourceNotFoundException):
        lambda_client.get_function(FunctionName=name)


def test_code_comes_from_a_bucket_of_the_object_store(lambda_client, server, runtime):
    bucket = server.data_dir / "objects" / "buckets" / "releases"
    bucket.mkdir(parents=True, exist_ok=True)
    (bucket / "v1.zip").write_bytes(package(ECHO))
    name = f"from-bucket-{uuid.uuid4().hex[:8]}"
    code = {"S3Bucket": "releases", "S3Key": "v1.zip"}
    create(lambda_client, name, Runtime=runtime, Code=code)
    answer = lambda_client.invoke(FunctionName=name, Payload=b'"tea"')
    assert answer["Payload"].read() == b'"tea"'
    lambda_client.delete_function(FunctionName=name)


def test_listing_pages_through_all_functions(lambda_client, make_function):
    names = {make_function(ECHO) for _ in range(5)}
    pages = lambda_client.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 2})
    sizes, found = [], set()
    for page in pages:
        sizes.append(len(page["Functions"]))
        found |= {function["FunctionName"] for function in page["Functions"]}
    assert names <= found
    assert max(sizes) == 2


def test_a_deleted_function_is_gone(lambda_client, make_function):
    name = make_function(ECHO)
    answer = lambda_client.delete_function(FunctionName=name)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    for call in (lambda_client.get_function, lambda_client.invoke, lambda_client.delete_function):
        with pytest.raises(lambda_client.exceptions.ResourceNotFoundException) as raised:
            call(FunctionName=name)
        assert f"Function not found: arn:aws:lambda:us-east-1:000000000000:function:{name}" in str(
            raised.value
        )


def test_new_configuration_is_in_force_for_the_next_request(lambda_client, make_function):
    name = make_function(
        "import os\ndef handler(e, c): return [os.environ.get('MODE'), c.memory_limit_in_mb]"
    )
    assert lambda_client.invoke(FunctionName=name)["Payload"].read() == b'[null, "128"]'
    for round_number in range(5):
        answer = lambda_client.update_function_configuration(
            FunctionName=name,
            Environment={"Variables": {"MODE": str(round_number)}},
            MemorySize=192,
        )
        assert answer["LastUpdateStatus"] == "InProgress"
        invoked = lambda_client.invoke(FunctionName=name)["Payload"].read()
        assert invoked == f'["{round_number}", "192"]'.encode()


def test_old_code_is_never_served_after_an_acknowledged_update(lambda_client, make_function):
    name = make_function("def handler(e, c): return -1")
    for round_number in range(10):
        lambda_client.invoke(FunctionName=name)
        code = package(f"def handler(e, c): return {round_number}")
        lambda_client.update_function_code(FunctionName=name, ZipFile=code)
        assert lambda_client.invoke(FunctionName=name)["Payload"].read() == b"%d" % round_number


def test_a_stale_revision_id_is_a_failed_precondition(lambda_client, make_function):
    name = make_function(ECHO)
    stale = lambda_client.get_function_configuration(FunctionName=name)["RevisionId"]
    lambda_client.update_function_configuration(FunctionName=name, Timeout=4)
    with pytest.raises(lambda_client.exceptions.PreconditionFailedException) as raised:
        lambda_client.update_function_configuration(FunctionName=name, Timeout=5, RevisionId=stale)
    assert error_of(raised) == ("PreconditionFailedException", 412)


def test_a_dry_run_of_new_code_changes_nothing(lambda_client, make_function):
    name = make_function(ECHO)
    before = lambda_client.get_function_configuration(FunctionName=name)
    lambda_client.update_function_code(
        FunctionName=name, ZipFile=package("def handler(e, c): return 1"), DryRun=True
    )
    after = lambda_client.get_function_configuration(FunctionName=name)
    assert after["CodeSha256"] == before["CodeSha256"]
    assert after["RevisionId"] == before["RevisionId"]


def test_an_operation_that_is_not_built_names_itself(lambda_client):
    with pytest.raises(ClientError) as raised:
        lambda_client.list_code_signing_configs()
    assert error_of(raised) == ("NotImplementedException", 501)
    assert "ListCodeSigningConfigs" in str(raised.value)


def test_regions_and_accounts_do_not_see_each_other(server, lambda_client, make_function):
    import boto3

    name = make_function(ECHO)
    elsewhere = boto3.client(
        "lambda",
        endpoint_url=server.endpoint,
        region_name="eu-west-1",
        aws_access_key_id="111122223333",
        aws_secret_access_key="test",
    )
    assert elsewhere.list_functions()["Functions"] == []
    with pytest.raises(elsewhere.exceptions.ResourceNotFoundException) as raised:
        elsewhere.invoke(FunctionName=name)
    assert "arn:aws:lambda:eu-west-1:111122223333:function:" in str(raised.value)


def test_a_request_without_credentials_is_refused(server):
    url = f"{server.endpoint}/2015-03-31/functions/"
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(url, timeout=10)
    with raised.value as answer:
        assert answer.code == 403
        assert b"Missing Authentication Token" in answer.read()
