"""Flask without features that cost time in every request and are not used here."""

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
    """Turns off Flask's own sessions: auth.sessions keeps sessions in Redis."""

    def open_session(self, app: Flask, request: Request) -> NullSession:  # noqa: ARG002
        """A session that can not be changed."""
        return _NO_SESSION

    def save_session(self, app: Flask, session: Any, response: Response) -> None:
        """Do nothing."""


class MinimalFlask(OpenAPI):
    """Flask with synchronous views and without sessions of its own."""

    session_interface = _NoSessions()

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Returns `func`: no view is a coroutine. Flask would check each function at each call."""
        return func

    def process_response(self, response: Response) -> Response:
        """As Flask's, without Content-Type for an empty response such as 204."""
        if response.mimetype == "text/html" and response.is_sequence and not response.get_data():
            del response.headers["Content-Type"]
        return super().process_response(response)


class MinimalResponse(Response):
    """A complete response. Flask's also prepares streams, relative redirects and empty bodies, at each response."""

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """As a WSGI application (PEP 3333)."""
        body: Any = self.response
        if environ["REQUEST_METHOD"] == "HEAD" or self.status_code in _WITHOUT_BODY or not isinstance(body, list):
            return super().__call__(environ, start_response)
        start_response(self.status, self.headers.to_wsgi_list())
        return body
