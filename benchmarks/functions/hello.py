"""The function of all measurements: as small as one can be."""


def handler(event, context):
    return {"ok": True}
