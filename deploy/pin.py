"""Writes the digests of the images of the overlays into images.env: `make pin`.

A variable such as POSTGRES_IMAGE replaces the tag. A registry is asked for the digest; if none answers, images.env gets
no digest for this image.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "images.env"
_IMAGE = re.compile(r"\$\{(?!WEB_|BACKUP_)([A-Z_]+_IMAGE):-([^}@]+)\}")
"""WEB_IMAGE and BACKUP_IMAGE are built here."""
_HEADER = "# Written by `make pin`. To use it: export COMPOSE_ENV_FILES=.env,images.env\n"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TIMEOUT_S = 60


class NoDigestError(Exception):
    """No registry has told the digest."""


def main() -> int:
    """Returns 1 if a digest is missing."""
    pinned: dict[str, str] = {}
    for variable, image in images().items():
        try:
            pinned[variable] = f"{image}@{digest_of(image)}"
            print(f"{variable}={pinned[variable]}")
        except NoDigestError as error:
            print(f"{variable}: no digest for {image}: {error}", file=sys.stderr)
    # Digests of the last time stay valid for the same tag.
    for variable, image in images().items():
        earlier = read_target().get(variable, "")
        if variable not in pinned and earlier.startswith(f"{image}@"):
            pinned[variable] = earlier
            print(f"{variable}: keeps {earlier}", file=sys.stderr)
    TARGET.write_text(_HEADER + "".join(f"{variable}={pinned[variable]}\n" for variable in sorted(pinned)))
    missing = images().keys() - pinned.keys()
    print(f"{TARGET.name} has {len(pinned)} of {len(images())} digests.", file=sys.stderr)
    return 1 if missing else 0


def images() -> dict[str, str]:
    """The image of each variable of the overlays: its value in the environment, or its default, without a digest."""
    found: dict[str, str] = {}
    for file in sorted(ROOT.glob("docker-compose.*.yml")):
        for variable, default in _IMAGE.findall(file.read_text(encoding="utf-8")):
            found[variable] = (os.environ.get(variable) or default).partition("@")[0]
    return found


def digest_of(image: str) -> str:
    """The digest that a registry has for the tag, of all platforms. Raises: NoDigestError"""
    command = ["docker", "buildx", "imagetools", "inspect", image, "--format", "{{json .Manifest}}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise NoDigestError(f"no registry answered within {_TIMEOUT_S} s") from None
    if done.returncode != 0:
        raise NoDigestError((done.stderr.strip() or "no answer").splitlines()[-1])
    digest = str(json.loads(done.stdout).get("digest", ""))
    if not _DIGEST.fullmatch(digest):
        raise NoDigestError("the answer of the registry has no digest")
    return digest


def read_target() -> dict[str, str]:
    """The variables of images.env."""
    if not TARGET.exists():
        return {}
    lines = TARGET.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


if __name__ == "__main__":
    sys.exit(main())
