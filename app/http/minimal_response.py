"""Flask without what nobody here uses: its price at each request is what an API pays for nothing."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask, Request, Response
from flask.sessions import NullSession, SessionInterface
from flask_openapi3 import OpenAPI

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_WITHOUT_BODY = (204, 304)
_NO_SESSION = NullSession()


class _NoSessions(SessionInterface):
    """Sessions are records in Redis (auth.sessions); Flask's own would be made for each request."""

    def open_session(self, app: Flask, request: Request) -> NullSession:  # noqa: ARG002
        """The one that refuses to be written."""
        return _NO_SESSION

    def save_session(self, app: Flask, session: Any, response: Response) -> None:
        """Nothing was written."""


class PlainApp(OpenAPI):
    """An application of plain functions."""

    session_interface = _NoSessions()

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """`func`: none of ours is a coroutine, and Flask asks that of each function at each call."""
        return func

    def process_response(self, response: Response) -> Response:
        """As Flask's; an empty response, such as 204 or that to OPTIONS, is no page of HTML."""
        if response.mimetype == "text/html" and response.is_sequence and not response.get_data():
            del response.headers["Content-Type"]
        return super().process_response(response)


class Plain(Response):
    """Flask's, without the work that streams, relative redirects and answers without a body need at each answer."""

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """As WSGI has it (PEP 3333); a list, which the server sends as one."""
        body: Any = self.response
        if environ["REQUEST_METHOD"] == "HEAD" or self.status_code in _WITHOUT_BODY or not isinstance(body, list):
            return super().__call__(environ, start_response)
        start_response(self.status, self.headers.to_wsgi_list())
        return body
