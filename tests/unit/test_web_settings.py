"""When a function is a web server, and how it is to be spoken to."""

from __future__ import annotations

import pytest

from samovar.guest import program
from samovar.model import web
from samovar.model.web import web_settings

ON = {"AWS_LWA_PORT": "8080"}


@pytest.mark.parametrize(
    ("environment", "port"),
    [
        ({}, None),
        ({"PORT": "3000"}, None),
        ({"AWS_LAMBDA_EXEC_WRAPPER": "/opt/bootstrap"}, 8080),
        ({"AWS_LAMBDA_EXEC_WRAPPER": "/opt/other"}, None),
        ({"AWS_LAMBDA_EXEC_WRAPPER": "/opt/other", "PORT": "3000"}, None),
        ({"AWS_LAMBDA_EXEC_WRAPPER": "/opt/bootstrap", "PORT": "3000"}, 3000),
        ({"AWS_LWA_PORT": "8080", "PORT": "3000"}, 8080),
    ],
)
def test_a_function_is_a_web_server_by_its_environment(environment, port):
    found = web_settings(environment)
    assert (found.port if found else None) == port


def test_what_is_not_said_is_as_the_adapter_has_it():
    found = web_settings(ON)
    assert found is not None
    assert found.as_meta() == {
        "port": 8080,
        "readiness_port": 8080,
        "readiness_path": "/",
        "readiness_tcp": False,
        "healthy": ((100, 499),),
        "async_init": False,
        "base_path": "",
        "pass_through_path": "/events",
        "authorization_source": "",
        "errors": (),
        "streams": False,
    }


def test_statuses_are_ranges():
    found = web_settings(ON | {"AWS_LWA_ERROR_STATUS_CODES": "500, 502-504 ,422,"})
    assert found is not None
    assert found.errors == ((500, 500), (502, 504), (422, 422))


@pytest.mark.parametrize(("older", "healthy"), [("400", ((100, 399),)), ("501", ((100, 500),))])
def test_older_names_hold_too(older, healthy):
    environment = {
        "AWS_LWA_READINESS_CHECK_MIN_UNHEALTHY_STATUS": older,
        "READINESS_CHECK_PATH": "/ready",
        "REMOVE_BASE_PATH": "/shop/",
    }
    found = web_settings(ON | environment)
    assert found is not None
    assert (found.healthy, found.readiness_path, found.base_path) == (healthy, "/ready", "/shop")


def test_inside_instances_the_wrapper_has_the_same_name():
    """Neither side may import the other."""
    assert (program.WRAPPER, program.WEB_ADAPTER) == (web.WRAPPER, web.ADAPTER_WRAPPER)
