"""Builds the image of a release, its SBOM (CycloneDX 1.6) and the list of its licences: `make release`.

The image gets the labels of the OCI image specification. The files are written into dist/.
"""

import json
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
NAME = "fullstack-app"
_SPDX = {
    "MIT License": "MIT",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "Python Software Foundation License": "PSF-2.0",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
}
"""Classifiers of Python packages that have an SPDX identifier."""


def main() -> int:
    """Returns 1 if the build fails or the work tree has changes that are not committed."""
    version = re.findall(r'VERSION = "(.+)"', (ROOT / "app" / "version.py").read_text(encoding="utf-8"))[0]
    if changes := run("git", "status", "--porcelain"):
        print(f"Refused: these changes are not committed, so no revision has them:\n{changes}", file=sys.stderr)
        return 1
    image = os.environ.get("IMAGE") or f"{NAME}:{version}"
    labels = labels_of(version)
    build(image, labels)
    found = json.loads(run("docker", "run", "--rm", "-i", "--network", "none", image, "python", "-", stdin=INVENTORY))
    DIST.mkdir(exist_ok=True)
    sbom, licences = DIST / f"{NAME}-{version}.cdx.json", DIST / f"{NAME}-{version}.licences.txt"
    sbom.write_text(json.dumps(sbom_of(version, labels, found), indent=1) + "\n", encoding="utf-8")
    licences.write_text(licence_list(found["packages"]), encoding="utf-8")
    print(f"{image}\n{sbom.relative_to(ROOT)}\n{licences.relative_to(ROOT)}")
    return 0


INVENTORY = (ROOT / "deploy" / "inventory.py").read_text(encoding="utf-8")


def labels_of(version: str) -> dict[str, str]:
    """The labels that depend on the release. The others are in the Dockerfile. Two builds of a commit have the same."""
    labels = {
        "version": version,
        "revision": run("git", "rev-parse", "HEAD"),
        "created": run("git", "show", "-s", "--format=%cI", "HEAD"),
        "source": os.environ.get("SOURCE", ""),
        "base.name": os.environ.get("PYTHON_IMAGE", ""),
    }
    return {f"org.opencontainers.image.{name}": value for name, value in labels.items() if value}


def build(image: str, labels: dict[str, str]) -> None:
    """Build the image with these labels. PYTHON_IMAGE is the base."""
    options = [part for name, value in labels.items() for part in ("--label", f"{name}={value}")]
    if base := os.environ.get("PYTHON_IMAGE"):
        options += ["--build-arg", f"PYTHON={base}"]
    subprocess.run(["docker", "build", "-t", image, *options, str(ROOT / "app")], check=True)


def sbom_of(version: str, labels: dict[str, str], found: dict[str, Any]) -> dict[str, Any]:
    """The bill of materials of the image."""
    revision = labels["org.opencontainers.image.revision"]
    distribution = f"{found['os'].get('ID', 'linux')}-{found['os'].get('VERSION_ID', '')}"
    components = [component(each, distribution) for each in found["packages"]]
    service = {
        "type": "container",
        "bom-ref": NAME,
        "name": NAME,
        "version": version,
        "licenses": [{"license": {"id": "MIT"}}],
        "properties": [{"name": name, "value": value} for name, value in labels.items()],
    }
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{NAME}@{revision}')}",
        "version": 1,
        "metadata": {"timestamp": labels["org.opencontainers.image.created"], "component": service},
        "components": components,
        "dependencies": [{"ref": NAME, "dependsOn": [each["bom-ref"] for each in components]}],
    }


def component(package: dict[str, Any], distribution: str) -> dict[str, Any]:
    """A package of the image. Its purl identifies it (ECMA-427)."""
    name, version = package["name"], package["version"]
    purl = f"pkg:{package['type']}/{name}@{quote(version, safe='.')}"
    if package["type"] == "deb":
        place = f"?arch={package['architecture']}&distro={distribution}"
        purl = f"pkg:deb/debian/{quote(name, safe='')}@{quote(version, safe='.')}{place}"
    found = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    licences = spdx(package)
    return {**found, "licenses": licences} if licences else found


def spdx(package: dict[str, Any]) -> list[dict[str, Any]]:
    """The licences of a package: an SPDX expression, or names."""
    licences = [_SPDX.get(each, each) for each in package["licences"]]
    if (
        package["type"] == "pypi"
        and len(licences) == 1
        and re.fullmatch(r"[\w.+-]+( (OR|AND|WITH) [\w.+-]+)*", licences[0])
    ):
        return [{"expression": licences[0]}]
    return [{"license": {"name": each}} for each in licences]


def licence_list(packages: list[dict[str, Any]]) -> str:
    """A line for each package."""
    rows = [
        (each["type"], each["name"], each["version"], "; ".join(_SPDX.get(one, one) for one in each["licences"]))
        for each in packages
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  ".join([*(row[column].ljust(widths[column]) for column in range(3)), row[3] or "unknown"]) for row in rows
    ]
    return "\n".join(lines) + "\n"


def run(*command: str, stdin: str | None = None) -> str:
    """The output of a program, in the root of the repository."""
    done = subprocess.run(command, cwd=ROOT, input=stdin, capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
