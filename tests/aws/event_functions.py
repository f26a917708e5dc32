"""Functions that tell what they got, and do as their messages say."""

PRINT_EVENT = """
import json

def handler(event, context):
    print("EVENT " + json.dumps(event))
"""

FAIL_ON_POISON = """
import json

def handler(event, context):
    print("EVENT " + json.dumps(event))
    if "poison" in str(event):
        raise ValueError("poison")
"""

REPORT_POISON = """
import json

def handler(event, context):
    print("EVENT " + json.dumps(event))
    poisoned = [r["messageId"] for r in event["Records"] if "poison" in r["body"]]
    return {"batchItemFailures": [{"itemIdentifier": id} for id in poisoned]}
"""
