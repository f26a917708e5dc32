"""The same function for platforms that hand it an HTTP request."""


def handler(request):
    request.get_json()
    return {"ok": True}
