"""TLS to PostgreSQL and Redis follows the URL: authorities, names, and `sslrootcert=system`."""

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.stack.compose import ROOT, run, wait_until

_PASSWORD = "a-password-of-postgresql"
_IMAGE = "fullstack-app-production-tls"
_AUTHORITY, _OTHER = "/certs/authority.crt", "/certs/other.crt"
_REFUSED = "certificate verify failed"

pytestmark = pytest.mark.usefixtures("engine")


class Servers(NamedTuple):
    """A PostgreSQL and a Redis with TLS, in a network. Their certificates are for db.test and cache.test.

    Their other names in this network are other-db.test and other-cache.test.
    """

    network: str
    certificates: Path

    def start(self, *words: str, bundle: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the image of the service, or its start, for at most 30 s. Returns its output.

        bundle: a file of the certificates that replaces the authorities of the image.
        """
        urls = {"DATABASE_URL": database(), "REDIS_URL": cache()}
        settings = urls | {"DATABASE_WAIT_S": "3", "WORKERS": "1", "PUBLISHED_ADDRESS": "127.0.0.1"} | environ
        options = [part for name, value in settings.items() for part in ("-e", f"{name}={value}")]
        volume = ["-v", f"{self.certificates}:/certs:ro"]
        if bundle:
            volume += ["-v", f"{self.certificates / bundle}:/etc/ssl/certs/ca-certificates.crt:ro"]
        command = ("docker", "run", "--rm", "--network", self.network, *volume, *options, _IMAGE)
        return run(*command, "timeout", "-s", "TERM", "30", *words, check=False)

    def log_of_start(self, **environ: str) -> str:
        """What the service logs until it serves or ends."""
        script = (
            "from subprocess import PIPE, STDOUT, Popen\n"
            "service = Popen(['python', '-m', 'app'], stdout=PIPE, stderr=STDOUT, text=True)\n"
            "for line in service.stdout:\n"
            "    print(line, end='')\n"
            "    if '\"serving\"' in line: service.terminate()\n"
        )
        return self.start("python", "-c", script, **environ).stdout


def database(host: str = "db.test", mode: str = "verify-full", authority: str = _AUTHORITY) -> str:
    return f"postgresql://postgres:{_PASSWORD}@{host}:5432/postgres?sslmode={mode}&sslrootcert={authority}"


def cache(host: str = "cache.test", authority: str | None = _AUTHORITY) -> str:
    return f"rediss://{host}:6379/0" + (f"?ssl_ca_certs={authority}" if authority else "")


def create_certificates(folder: Path) -> None:
    """Two authorities, and certificates of the first one."""

    def openssl(*words: str) -> None:
        run("openssl", *words, cwd=folder)

    for name in ("authority", "other"):
        extension = ("-addext", "keyUsage=critical,keyCertSign")
        new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
        openssl(*new, "-subj", f"/CN={name}", *extension, "-keyout", f"{name}.key", "-out", f"{name}.crt")
    for name in ("db", "cache"):
        (folder / f"{name}.ext").write_text(f"subjectAltName=DNS:{name}.test\nauthorityKeyIdentifier=keyid\n")
        new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}")
        openssl(*new, "-keyout", f"{name}.key", "-out", f"{name}.csr")
        signed = ("x509", "-req", "-in", f"{name}.csr", "-CA", "authority.crt", "-CAkey", "authority.key", "-days", "2")
        openssl(*signed, "-CAcreateserial", "-extfile", f"{name}.ext", "-out", f"{name}.crt")
    for file in folder.iterdir():
        file.chmod(0o644)


@pytest.fixture(scope="module")
def servers(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:  # noqa: ARG001
    folder = tmp_path_factory.mktemp("certificates")
    folder.chmod(0o755)
    create_certificates(folder)
    run("docker", "build", "-q", "-t", _IMAGE, str(ROOT / "app"), timeout=900)
    project = f"fullstack-app-production-tls-{uuid.uuid4().hex[:8]}"
    run("docker", "network", "create", project)
    volume = ("-v", f"{folder}:/certs:ro")
    postgres = (
        "install -o postgres -m 600 /certs/db.key /tmp/db.key && exec docker-entrypoint.sh postgres"
        " -c ssl=on -c ssl_cert_file=/certs/db.crt -c ssl_key_file=/tmp/db.key"
    )
    redis = ("redis-server", "--port", "0", "--tls-port", "6379", "--tls-auth-clients", "no", "--save", "")
    files = (
        "--tls-cert-file",
        "/certs/cache.crt",
        "--tls-key-file",
        "/certs/cache.key",
        "--tls-ca-cert-file",
        _AUTHORITY,
    )
    commands = {
        "db": ("-e", f"POSTGRES_PASSWORD={_PASSWORD}", "--entrypoint", "bash", "postgres:16", "-c", postgres),
        "cache": ("redis:8-alpine", *redis, *files),
    }
    try:
        for name, command in commands.items():
            names = ("--network-alias", f"{name}.test", "--network-alias", f"other-{name}.test")
            run("docker", "run", "-d", "--name", f"{project}-{name}", "--network", project, *names, *volume, *command)
        probe = ("docker", "exec", f"{project}-db", "pg_isready", "-h", "127.0.0.1")
        wait_until(lambda: run(*probe, check=False).returncode == 0, "PostgreSQL accepts connections")
        yield Servers(project, folder)
    finally:
        run("docker", "rm", "-f", "-v", *(f"{project}-{name}" for name in commands), check=False)
        run("docker", "network", "rm", project, check=False)
        run("docker", "image", "rm", "-f", _IMAGE, check=False)


def test_the_service_starts_with_the_right_authority_and_names(servers: Servers) -> None:
    assert '"serving"' in servers.log_of_start()
    doctor = servers.start("flask", "doctor").stdout
    assert "database    ok" in doctor
    assert "cache       ok" in doctor
    encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    script = f"from app import db; print(db.session.execute(db.text('{encrypted}')).scalar())"
    assert servers.start("python", "-c", script).stdout.strip() == "True"


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        (database(authority=_OTHER), _REFUSED),
        (database(mode="verify-ca", authority=_OTHER), _REFUSED),
        (database("other-db.test"), "does not match host name"),
        (database(authority="/certs/nowhere.crt"), "nowhere.crt"),
        # The authorities of the system don't include the one of the test.
        (database(authority="system"), _REFUSED),
    ],
    ids=["authority", "authority alone", "name", "file", "system"],
)
def test_the_start_is_refused_and_says_why(servers: Servers, url: str, cause: str) -> None:
    log = servers.log_of_start(DATABASE_URL=url)
    assert '"start_refused"' in log
    assert cause in log
    assert _PASSWORD not in log


def test_the_authorities_of_the_system_are_those_of_the_image(servers: Servers) -> None:
    bundle = "authority.crt"
    assert '"serving"' in servers.log_of_start(DATABASE_URL=database(authority="system"), bundle=bundle)
    other_name = database("other-db.test", authority="system")
    assert "does not match host name" in servers.log_of_start(DATABASE_URL=other_name, bundle=bundle)
    assert '"serving"' in servers.log_of_start(DATABASE_URL=database(authority="system"), SSL_CERT_FILE=_AUTHORITY)


@pytest.mark.parametrize(
    "url",
    [cache(authority=_OTHER), cache("other-cache.test"), cache(authority=None), cache().replace("rediss", "redis")],
    ids=["authority", "name", "system", "without TLS"],
)
def test_redis_is_not_used_if_its_certificate_is_not_right(servers: Servers, url: str) -> None:
    done = servers.start("flask", "doctor", REDIS_URL=url.partition("?")[0] if url.startswith("redis:") else url)
    assert done.returncode == 1
    assert "cache       failed" in done.stdout


def test_redis_may_have_an_authority_of_the_system(servers: Servers) -> None:
    doctor = servers.start("flask", "doctor", REDIS_URL=cache(authority=None), SSL_CERT_FILE=_AUTHORITY)
    assert "cache       ok" in doctor.stdout
