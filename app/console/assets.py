"""Static files under names that hold the hash of what is in them, so that browsers keep them for good."""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flask import Blueprint, Response, request, url_for

from app.errors import N_, NotFound

_FOLDER = Path(__file__).parent / "static"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_FOR_GOOD = "public, max-age=31536000, immutable"

blueprint = Blueprint("console_assets", __name__)


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is sent, plain and packed, and the first of its SHA-256."""

    plain: bytes
    packed: bytes
    mark: str
    kind: str


@cache
def assets() -> dict[str, Asset]:
    """All static files by name, read once."""
    found = {}
    for path in sorted(_FOLDER.iterdir()):
        plain = path.read_bytes()
        mark = hashlib.sha256(plain).hexdigest()[:12]
        found[path.name] = Asset(plain, gzip.compress(plain, 9, mtime=0), mark, _TYPES[path.suffix])
    return found


def asset_url(name: str) -> str:
    """The address of the file `name` as it is now."""
    return url_for("console_assets.show", mark=assets()[name].mark, name=name)


@blueprint.get("/assets/<mark>/<name>")
def show(mark: str, name: str) -> Response:
    """A static file. While releases change, a page of the other one may ask here: it gets ours, not to be kept."""
    asset = assets().get(name)
    if asset is None:
        raise NotFound(N_("There is no such file."))
    packed = bool(request.accept_encodings.quality("gzip"))
    response = Response(asset.packed if packed else asset.plain, content_type=asset.kind)
    response.headers["Cache-Control"] = _FOR_GOOD if mark == asset.mark else "no-store"
    response.headers["Vary"] = "Accept-Encoding"
    if packed:
        response.headers["Content-Encoding"] = "gzip"
    return response
