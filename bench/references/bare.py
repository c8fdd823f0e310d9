"""The least that a WSGI server can be given: one answer of a user's size. What granian itself can do."""

BODY = b'{"id":"' + b"0" * 330 + b'"}'


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(BODY)))])
    return [BODY]
