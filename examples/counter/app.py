"""Counts its calls: what a module keeps lives as long as its instance, and no longer.

Call it one after the other and the count goes up: one warm instance. Call it at once from many
sides and several instances each count on their own.
"""

import uuid

# Runs once in an instance, before its first call: the place for connections and models.
instance = uuid.uuid4().hex[:8]
calls = 0


def handler(event, context):
    global calls
    calls += 1
    print(f"call {calls} of instance {instance}")
    return {"calls": calls, "instance": instance}
