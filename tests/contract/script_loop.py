"""A runtime loop for tests of sandboxes: each INVOKE is a Python script, `answer` its response.

Loaded by zygotes in place of `samovar.guest.python_loop`; as that, it runs on Python 3.9."""

import json
import os
import select

from samovar.guest import wire


def prepare(control_fd):
    select.select([control_fd], [], [])


def serve(channel):
    scope = {}
    reader = wire.FrameReader()
    while True:
        data = channel.recv(65536)
        if not data:
            os._exit(0)
        for kind, meta, body in reader.feed(data):
            if kind == wire.INIT:
                os.environ.update(meta["env"])
                channel.sendall(wire.encode(wire.READY))
                continue
            try:
                exec(body, scope)
                answer = wire.encode(wire.RESPONSE, None, json.dumps(scope.pop("answer")).encode())
            except Exception as error:
                document = {"type": type(error).__name__, "message": str(error)}
                answer = wire.encode(wire.ERROR, document)
            channel.sendall(answer)
