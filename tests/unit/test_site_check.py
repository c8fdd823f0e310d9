"""What the doctor finds at a proxy: a small server with TLS stands in for Caddy."""

import http.server
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.ops.site_check import site_problems
from embedded.ports import free_port

_SITE, _HOST = "users.example.test", "127.0.0.1"
_HSTS = {"Strict-Transport-Security": "max-age=31536000"}
_REDIRECT = {"Location": f"https://{_SITE}/api/health/live"}

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


@contextmanager
def server(status: int, headers: dict[str, str], certificate: Path | None = None) -> Iterator[int]:
    """Answer all requests like this, with TLS if there is a certificate. Yields the port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(status if self.headers["Host"] == _SITE else 404)
            for header in headers.items():
                self.send_header(*header)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Silent."""

    with http.server.HTTPServer((_HOST, 0), Handler) as serving:
        serving.handle_error = lambda *_: None  # type: ignore[method-assign] # a client that refuses the certificate
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, certificate.with_suffix(".key"))
            serving.socket = context.wrap_socket(serving.socket, server_side=True)
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield serving.server_port
        finally:
            serving.shutdown()
            thread.join()


def certificate(folder: Path, days: int, name: str = _SITE) -> Path:
    """A certificate that is its own authority, and its key beside it."""
    path = folder / f"{days}-{name}.crt"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    files = ["-out", str(path), "-keyout", str(path.with_suffix(".key"))]
    names = [
        "-subj",
        f"/CN={name}",
        "-addext",
        f"subjectAltName=DNS:{name}",
        "-addext",
        "keyUsage=critical,digitalSignature,keyCertSign",
    ]
    subprocess.run([*words, "-days", str(days), *names, *files], check=True, capture_output=True)
    return path


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A certificate of 90 days that this process trusts."""
    path = certificate(tmp_path, 90)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return path


def problems(
    used: Path, headers: dict[str, str] = _HSTS, status: int = 308, plain: dict[str, str] = _REDIRECT
) -> list[str]:
    with server(200, headers, used) as https, server(status, plain) as http_port:
        return [*site_problems(_SITE, _HOST, https, http_port)]


def test_a_good_site_has_no_problems(trusted: Path) -> None:
    assert problems(trusted) == []


def test_a_certificate_that_is_not_trusted_is_a_problem(trusted: Path, tmp_path: Path) -> None:
    (problem,) = problems(certificate(tmp_path, 91))
    assert problem.startswith("the certificate is not valid: self-signed certificate"), trusted


def test_a_certificate_of_another_name_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = certificate(tmp_path, 90, "other.example.test")
    monkeypatch.setenv("SSL_CERT_FILE", str(other))
    (problem,) = problems(other)
    assert "not valid for 'users.example.test'" in problem


def test_a_certificate_that_is_not_renewed_is_a_problem(trusted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_77_days = time.time() + 77 * 86400
    monkeypatch.setattr("app.ops.site_check.time", SimpleNamespace(time=lambda: in_77_days))
    (problem,) = problems(trusted)
    assert problem.startswith("the certificate ends in 13.0 days")


def test_a_new_certificate_of_a_few_days_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = certificate(tmp_path, 6)
    monkeypatch.setenv("SSL_CERT_FILE", str(short))
    assert problems(short) == []


@pytest.mark.parametrize("value", [None, "", "max-age=0", 'includeSubDomains; Max-Age="0"', "max-age=", "s-max-age=1"])
def test_hsts_that_is_missing_or_off_is_a_problem(trusted: Path, value: str | None) -> None:
    (problem,) = problems(trusted, headers={} if value is None else {"Strict-Transport-Security": value})
    assert "Strict-Transport-Security is missing or has no max-age above 0" in problem


@pytest.mark.parametrize("value", ["max-age=300", 'includeSubDomains ; MAX-AGE = "010";preload', ";;max-age=1"])
def test_hsts_that_is_on_is_good(trusted: Path, value: str) -> None:
    assert problems(trusted, headers={"Strict-Transport-Security": value}) == []


@pytest.mark.parametrize(("status", "headers"), [(200, {}), (302, {"Location": f"http://{_SITE}/"})])
def test_plain_http_without_a_redirect_is_a_problem(trusted: Path, status: int, headers: dict[str, str]) -> None:
    (problem,) = problems(trusted, status=status, plain=headers)
    assert problem == f"port 80 answers with {status}: let the proxy redirect it to HTTPS"


def test_a_proxy_that_does_not_answer_is_a_problem() -> None:
    tls, plain = site_problems(_SITE, _HOST, free_port(), free_port())
    assert "does not speak HTTPS" in tls
    assert "does not redirect to HTTPS" in plain


def test_plain_http_on_the_port_of_https_is_a_problem(trusted: Path) -> None:
    with server(200, _HSTS) as plain, server(308, _REDIRECT) as http_port:
        (problem,) = site_problems(_SITE, _HOST, plain, http_port)
    assert "does not speak HTTPS" in problem, trusted


def test_a_name_that_is_no_name_is_a_problem() -> None:
    assert len([*site_problems("a" * 70 + ".test", "a" * 70 + ".test")]) == 2
