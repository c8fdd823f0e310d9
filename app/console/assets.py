"""Static files. Their addresses contain a hash of the content, so that browsers can cache them permanently."""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flask import Blueprint, Response, request

from app.errors import N_, NotFound

_FOLDER = Path(__file__).parent / "static"
_CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_CACHE_CONTROL = "public, max-age=31536000, immutable"

blueprint = Blueprint("console_assets", __name__)


@dataclass(frozen=True, slots=True)
class Asset:
    """The content of a file, plain and compressed. `digest`: the first characters of its SHA-256. path: its address."""

    content: bytes
    gzipped: bytes
    digest: str
    content_type: str
    path: str


@cache
def assets() -> dict[str, Asset]:
    """All static files by name, read once per process."""
    found = {}
    for path in sorted(_FOLDER.iterdir()):
        content, name = path.read_bytes(), path.name
        digest, gzipped = hashlib.sha256(content).hexdigest()[:12], gzip.compress(content, 9, mtime=0)
        found[name] = Asset(content, gzipped, digest, _CONTENT_TYPES[path.suffix], f"/assets/{digest}/{name}")
    return found


@blueprint.get("/assets/<digest>/<name>")
def show(digest: str, name: str) -> Response:
    """A static file.

    During a deployment a page of another release may request another digest. The response is the current content,
    which the browser must not cache under that address.
    """
    asset = assets().get(name)
    if asset is None:
        raise NotFound(N_("This file does not exist."))
    is_gzip = bool(request.accept_encodings.quality("gzip"))
    response = Response(asset.gzipped if is_gzip else asset.content, content_type=asset.content_type)
    response.headers["Cache-Control"] = _CACHE_CONTROL if digest == asset.digest else "no-store"
    response.headers["Vary"] = "Accept-Encoding"
    if is_gzip:
        response.headers["Content-Encoding"] = "gzip"
    return response
