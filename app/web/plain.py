"""A response that is what it says: a body that is there, under headers that are set, passed to the server as they are."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flask import Response

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_WITHOUT_BODY = (204, 304)


class Plain(Response):
    """Flask's, without the work that streams, relative redirects and answers without a body need at each answer."""

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """As WSGI has it (PEP 3333); a list, which the server sends as one."""
        body: Any = self.response
        if environ["REQUEST_METHOD"] == "HEAD" or self.status_code in _WITHOUT_BODY or not isinstance(body, list):
            return super().__call__(environ, start_response)
        start_response(self.status, self.headers.to_wsgi_list())
        return body
