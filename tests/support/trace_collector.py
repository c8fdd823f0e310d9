"""An OpenTelemetry collector for tests: it keeps the spans that it receives by OTLP over HTTP."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """What arrived. raw: the bodies of the requests, decompressed. resource: the attributes of the service."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.raw = b""
        self.spans: list[dict[str, Any]] = []
        self.resource: dict[str, Any] = {}

    def receive(self, body: bytes) -> None:
        """Keep the spans of a request."""
        self.raw += body
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resource = _attributes(group.resource.attributes)
            for scope in group.scope_spans:
                self.spans.extend(_span(each) for each in scope.spans)

    def of_kind(self, kind: int) -> list[dict[str, Any]]:
        """The spans of a kind: 2 is a server's, 3 a client's."""
        return [span for span in self.spans if span["kind"] == kind]


@contextmanager
def collector() -> Iterator[Collector]:
    """A collector that runs inside the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.receive(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Collector(f"http://127.0.0.1:{server.server_address[1]}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()


def _span(span: Any) -> dict[str, Any]:
    return {
        "name": span.name,
        "kind": span.kind,
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "attributes": _attributes(span.attributes),
    }


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
