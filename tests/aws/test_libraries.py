"""Libraries that functions in Python are written with, unmodified, from PyPI."""

from __future__ import annotations

import json
import textwrap
import urllib.error
import urllib.request

import pytest

from tests.aws.functions import package
from tests.aws.runtimes import installed, invoke

POWERTOOLS = ("aws-lambda-powertools", "jmespath", "typing-extensions")


@pytest.fixture
def make_with(make_function):
    """Makes a function whose package has libraries beside its source."""

    def make(libraries, source, **config):
        files = installed(*libraries) | {"app.py": textwrap.dedent(source)}
        return make_function("", Code={"ZipFile": package(files)}, MemorySize=256, **config)

    return make


def fetch(server, path, data=None):
    request = urllib.request.Request(f"{server.endpoint}/_samovar/url/{path}", data)
    try:
        answer = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, answer.headers, answer.read().decode()


def test_the_sdk_is_there_without_being_brought_along(lambda_client, make_function):
    name = make_function("""
        import boto3, os
        client = boto3.client("lambda", endpoint_url="http://127.0.0.1:1")
        def handler(event, context):
            return [client.meta.region_name, boto3.__file__]
    """)
    value, error, _ = invoke(lambda_client, name)
    assert (value, error) == (["us-east-1", "/var/runtime/boto3/__init__.py"], None)


def test_a_functions_own_version_of_the_sdk_wins(lambda_client, make_function):
    files = {"app.py": "import boto3\nhandler = lambda *_: boto3.MINE", "boto3.py": "MINE = True"}
    name = make_function("", Code={"ZipFile": package(files)})
    assert invoke(lambda_client, name)[:2] == (True, None)


# ---------------------------------------------------------------- powertools


def test_powertools_logger_writes_what_it_knows_of_the_invocation(lambda_client, make_with):
    name = make_with(
        (*POWERTOOLS, "aws-xray-sdk", "wrapt"),
        """
            from aws_lambda_powertools import Logger, Metrics, Tracer
            logger, tracer = Logger(service='tea'), Tracer(service='tea')
            metrics = Metrics(namespace='Tea', service='tea')
            @metrics.log_metrics(capture_cold_start_metric=True)
            @logger.inject_lambda_context(log_event=True)
            @tracer.capture_lambda_handler
            def handler(event, context):
                tracer.put_annotation('kind', event['tea'])
                metrics.add_metric(name='Cups', unit='Count', value=2)
                logger.info('brewing', extra={'tea': event['tea']})
                return context.aws_request_id
        """,
        Environment={"Variables": {"POWERTOOLS_TRACE_DISABLED": "true"}},
    )
    for cold in (True, False):
        request_id, error, log = invoke(lambda_client, name, {"tea": "green"})
        assert error is None, log
        lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
        brewing = next(line for line in lines if line.get("message") == "brewing")
        assert brewing["function_request_id"] == request_id
        assert brewing["function_name"] == name
        assert (brewing["tea"], brewing["service"], brewing["cold_start"]) == ("green", "tea", cold)
        assert {"tea": "green"} in [line.get("message") for line in lines]
        assert 2.0 in [metric for line in lines for metric in line.get("Cups", [])]


def test_powertools_event_handler_serves_a_function_url(make_with, server):
    name = make_with(
        POWERTOOLS,
        """
            from aws_lambda_powertools.event_handler import (
                LambdaFunctionUrlResolver, Response, content_types)
            from aws_lambda_powertools.event_handler.exceptions import NotFoundError
            app = LambdaFunctionUrlResolver()
            @app.get('/teas/<name>')
            def tea(name):
                cups = app.current_event.get_query_string_value('cups', '1')
                return {'tea': name, 'cups': int(cups)}
            @app.get('/page')
            def page():
                return Response(418, content_types.TEXT_HTML, '<p>ü</p>',
                                headers={'X-Tea': 'yes'}, cookies=[])
            def handler(event, context):
                return app.resolve(event, context)
        """,
    )
    status, _, body = fetch(server, f"{name}/teas/earl%20grey?cups=3")
    assert (status, json.loads(body)) == (200, {"tea": "earl grey", "cups": 3})
    status, headers, body = fetch(server, f"{name}/page")
    assert (status, headers["x-tea"], body) == (418, "yes", "<p>ü</p>")
    assert fetch(server, f"{name}/nothing")[0] == 404


def test_powertools_idempotency_does_things_once(lambda_client, make_with):
    name = make_with(
        POWERTOOLS,
        """
            from aws_lambda_powertools.utilities.idempotency import (
                IdempotencyConfig, idempotent)
            from aws_lambda_powertools.utilities.idempotency.exceptions import (
                IdempotencyItemAlreadyExistsError, IdempotencyItemNotFoundError)
            from aws_lambda_powertools.utilities.idempotency.persistence.base import (
                BasePersistenceLayer)
            class Memory(BasePersistenceLayer):
                records = {}
                def _get_record(self, idempotency_key):
                    if idempotency_key not in self.records: raise IdempotencyItemNotFoundError
                    return self.records[idempotency_key]
                def _put_record(self, data_record):
                    found = self.records.get(data_record.idempotency_key)
                    if found and not found.is_expired:
                        raise IdempotencyItemAlreadyExistsError(old_data_record=found)
                    self.records[data_record.idempotency_key] = data_record
                def _update_record(self, data_record):
                    self.records[data_record.idempotency_key] = data_record
                def _delete_record(self, data_record):
                    self.records.pop(data_record.idempotency_key, None)
            brewed = []
            @idempotent(config=IdempotencyConfig(event_key_jmespath='order'),
                        persistence_store=Memory())
            def handler(event, context):
                brewed.append(event['order'])
                return {'order': event['order'], 'brewed': len(brewed)}
        """,
    )
    answers = [invoke(lambda_client, name, {"order": order})[:2] for order in (1, 1, 2, 1)]
    first, second = {"order": 1, "brewed": 1}, {"order": 2, "brewed": 2}
    assert answers == [(first, None), (first, None), (second, None), (first, None)]


def test_powertools_streaming_reads_an_object_in_pieces(lambda_client, make_with):
    name = make_with(
        POWERTOOLS,
        """
            import gzip, io
            from aws_lambda_powertools.utilities.streaming.s3_object import S3Object
            from botocore.response import StreamingBody
            LEAVES = gzip.compress(b'leaf\\n' * 100_000)
            class Bucket:
                asked = []
                def head_object(self, **_): return {'ContentLength': len(LEAVES)}
                def get_object(self, Range, **_):
                    self.asked.append(Range)
                    first = int(Range.removeprefix('bytes=').partition('-')[0])
                    part = LEAVES[first:]
                    return {'Body': StreamingBody(io.BytesIO(part), len(part))}
            def handler(event, context):
                leaves = S3Object('garden', 'leaves.gz', is_gzip=True, boto3_client=Bucket())
                return [sum(1 for _ in leaves), Bucket.asked]
        """,
        Timeout=30,
    )
    value, error, _ = invoke(lambda_client, name, {})
    assert (value, error) == ([100_000, ["bytes=0-"]], None)


# ---------------------------------------------------------------- mangum


def test_mangum_serves_an_asgi_application(make_with, server):
    name = make_with(
        ("mangum", "typing-extensions"),
        """
            from mangum import Mangum
            started = []
            async def app(scope, receive, send):
                if scope['type'] == 'lifespan':
                    await receive()
                    started.append(True)
                    await send({'type': 'lifespan.startup.complete'})
                    return
                body = (await receive())['body']
                query = scope['query_string']
                text = f"{started} {scope['method']} {scope['path']} {query} {body}"
                headers = [(b'content-type', b'text/plain'), (b'set-cookie', b'a=1'),
                           (b'set-cookie', b'b=2')]
                await send({'type': 'http.response.start', 'status': 201, 'headers': headers})
                await send({'type': 'http.response.body', 'body': text.encode(), 'more_body': True})
                await send({'type': 'http.response.body', 'body': b'\\xc3\\xbc'})
            handler = Mangum(app, lifespan='on')
        """,
    )
    status, headers, body = fetch(server, f"{name}/a/b?c=d&c=e", data=b"\xff\x00")
    assert (status, headers.get_all("set-cookie")) == (201, ["a=1", "b=2"])
    assert body == r"[True] POST /a/b b'c=d&c=e' b'\xff\x00'ü"
