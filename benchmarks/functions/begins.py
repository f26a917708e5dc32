"""Says when it began, by the machine's clock; sleeps for as long as it is told to."""

import time


def handler(event, context):
    print("began", context.aws_request_id, time.time())
    time.sleep(event.get("sleep_s", 0))
