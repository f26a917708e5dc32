"""A function that waits, as for a database."""

import time

WAIT_S = 0.05


def handler(event, context):
    time.sleep(WAIT_S)
    return {"ok": True}
