"""`make pin` and `make release`: digests of images, labels, the bill of materials and the list of licences."""

import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from monitoring_images import IMAGES as _MONITORING

from tests.stack.compose import ENVIRON, ROOT, run

_IMAGE = "fullstack-app-production-release"
_FILES = tuple(part for name in ("", ".prod", ".monitoring") for part in ("-f", f"docker-compose{name}.yml"))
_MANIFEST = b'{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}'
_DIGEST = f"sha256:{hashlib.sha256(_MANIFEST).hexdigest()}"

pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The files of this work tree as the only commit of a new repository."""
    folder = tmp_path / "clone"
    for name in run("git", "ls-files", "--cached", "--others", "--exclude-standard").stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    for words in (("init", "-q"), ("add", "-A"), (*identity, "commit", "-q", "-m", "One")):
        run("git", *words, cwd=folder)
    return folder


def make(folder: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    # Without the variables of a make that runs the tests.
    return subprocess.run(
        ["make", *words], cwd=folder, env=ENVIRON | environ, capture_output=True, text=True, check=False, timeout=600
    )


@contextmanager
def registry(tags: dict[str, str]) -> Iterator[int]:
    """A registry of images on this machine, which knows the digest of these tags. Yields its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(b"")

        def do_GET(self) -> None:
            self._answer(_MANIFEST)

        def _answer(self, body: bytes) -> None:
            found = re.fullmatch(r"/v2/(\w+)/manifests/(.+)", self.path)
            is_known = found is not None and found[1] in tags and found[2] in (tags[found[1]], _DIGEST)
            self.send_response(200 if is_known or self.path == "/v2/" else 404)
            self.send_header("Docker-Content-Digest", _DIGEST)
            self.send_header("Content-Type", "application/vnd.oci.image.index.v1+json")
            self.send_header("Content-Length", str(len(_MANIFEST)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_digests_are_written_where_a_registry_answers(clone: Path) -> None:
    with registry({"postgres": "16.15", "redis": "8.6.7-alpine"}) as port:
        here = f"127.0.0.1:{port}"
        images = {
            "POSTGRES_IMAGE": f"{here}/postgres:16.15",
            "REDIS_IMAGE": f"{here}/redis:8.6.7-alpine",
            "CADDY_IMAGE": f"{here}/caddy:2.11.7-alpine",
            "ADMINER_IMAGE": f"{here}/adminer:5.4.2",
            "PYTHON_IMAGE": f"{here}/python:3.13.16-slim",
            **{name: f"{here}/{name.lower()}:1" for name in (*_MONITORING, "GRAFANA_IMAGE")},
        }
        done = make(clone, "pin", **images)
    assert done.returncode != 0
    for variable in images.keys() - {"POSTGRES_IMAGE", "REDIS_IMAGE"}:
        assert f"{variable}: no digest for {images[variable]}: " in done.stderr
    lines = (clone / "images.env").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        f"{variable}={images[variable]}@{_DIGEST}" for variable in ("POSTGRES_IMAGE", "REDIS_IMAGE")
    ]
    # Compose takes them from the file.
    (clone / ".env").write_text("SITE_ADDRESS=users.example.org\nADMIN_EMAIL=a@example.org\n")
    files = ("-f", "docker-compose.yml", "-f", "docker-compose.prod.yml")
    words = ("docker", "compose", "--env-file", ".env", "--env-file", "images.env", *files, "config", "--images")
    found = run(*words, cwd=clone).stdout.split()
    assert f"{images['POSTGRES_IMAGE']}@{_DIGEST}" in found
    assert "caddy:2.11.7-alpine" in found
    # Without the registry the digests of the same tags stay, and those of other tags go.
    again = make(clone, "pin", **images | {"REDIS_IMAGE": f"{here}/redis:9"})
    assert again.returncode != 0
    assert "POSTGRES_IMAGE: keeps" in again.stderr
    assert (clone / "images.env").read_text().splitlines()[1:] == [
        f"POSTGRES_IMAGE={images['POSTGRES_IMAGE']}@{_DIGEST}"
    ]


def test_each_image_of_production_has_an_exact_version_and_a_variable() -> None:
    env = {"SITE_ADDRESS": "users.example.org", "ADMIN_EMAIL": "a@example.org", "ALERT_RECEIVER": "webhook"}
    variables = ("POSTGRES_IMAGE", "REDIS_IMAGE", "ADMINER_IMAGE", "CADDY_IMAGE", "WEB_IMAGE", "BACKUP_IMAGE")
    variables += (*_MONITORING, "GRAFANA_IMAGE")
    built = {"fullstack-app-web", "fullstack-app-backup"}
    assert all(re.search(r":v?\d+(\.\d+)+(-\w+)?$", image) for image in images_of(env) - built)
    assert images_of(env | {name: f"{name.lower()}:1" for name in variables}) == {f"{n.lower()}:1" for n in variables}


def images_of(environ: dict[str, str]) -> set[str]:
    words = ("docker", "compose", "--env-file", "/dev/null", "--profile", "*", *_FILES, "config", "--images")
    done = subprocess.run(words, cwd=ROOT, env=ENVIRON | environ, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_a_release_has_labels_a_bill_of_materials_and_licences(clone: Path) -> None:
    base = "python:3.13-slim"
    try:
        done = make(clone, "release", IMAGE=_IMAGE, PYTHON_IMAGE=base, SOURCE="https://example.org/fullstack-app")
        assert done.returncode == 0, done.stderr
        labels = json.loads(run("docker", "image", "inspect", _IMAGE).stdout)[0]["Config"]["Labels"]
    finally:
        run("docker", "image", "rm", "-f", _IMAGE, check=False)
    revision = run("git", "rev-parse", "HEAD", cwd=clone).stdout.strip()
    expected = {"revision": revision, "base.name": base, "licenses": "MIT", "title": "fullstack-app"}
    named = {name.removeprefix("org.opencontainers.image."): value for name, value in labels.items()}
    assert {name: named[name] for name in expected} == expected
    assert named["source"] == "https://example.org/fullstack-app"
    assert re.fullmatch(r"\d+\.\d+\.\d+", named["version"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d.+", named["created"])
    check_bill_of_materials(json.loads(next((clone / "dist").glob("*.cdx.json")).read_text()))
    licences = next((clone / "dist").glob("*.licences.txt")).read_text()
    assert re.search(r"^pypi +flask +3\.[\d.]+ +BSD-3-Clause$", licences, re.MULTILINE)
    assert not re.search(r"^pypi .* unknown$", licences, re.MULTILINE)


def check_bill_of_materials(bill: dict[str, object]) -> None:
    """It names each pinned package, with its version and licence, and the packages of the base."""
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    components = bill["components"]
    assert isinstance(components, list)
    found = {each["purl"]: each for each in components}
    assert len(found) == len(components)
    pinned = re.findall(
        r"^([\w.-]+)==(\S+)(?: ;.*)? \\$", (ROOT / "app" / "requirements.txt").read_text(), re.MULTILINE
    )
    assert len(pinned) > 20
    # Markers leave some out, such as packages for Windows.
    there = [f"pkg:pypi/{name}@{version}" for name, version in pinned if f"pkg:pypi/{name}@{version}" in found]
    assert len(there) > len(pinned) - 6
    assert all(found[purl]["licenses"] for purl in there)
    assert any(purl.startswith("pkg:deb/debian/libc6@") for purl in found)
    assert any(purl.startswith("pkg:generic/python@3.13") for purl in found)


def test_a_work_tree_with_changes_is_no_release(clone: Path) -> None:
    with (clone / "app" / "version.py").open("a") as source:
        source.write("# changed\n")
    done = make(clone, "release", IMAGE=_IMAGE)
    assert done.returncode != 0
    assert "app/version.py" in done.stderr
    assert not os.path.lexists(clone / "dist")
