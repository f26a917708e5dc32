"""Greets by name. One handler for both ways in: a plain event and an HTTP request."""

import json


def handler(event, context):
    if "requestContext" in event:  # came in over HTTP, as a function URL's event
        name = (event.get("queryStringParameters") or {}).get("name", "you")
        return {
            "statusCode": 200,
            "headers": {"content-type": "application/json"},
            "body": json.dumps(greet(name)),
        }
    return greet(event.get("name", "you"))


def greet(name):
    return {"message": f"Hello, {name}!"}
