"""Prints what an image contains, as JSON: its packages of Python and Debian, with their licences.

deploy/release.py runs it in the image, so it uses only the standard library.
"""

import importlib.metadata
import json
import platform
import re
import sys
from pathlib import Path

_STATUS = Path("/var/lib/dpkg/status")
_DOCS = Path("/usr/share/doc")
_LICENCE_LINE = re.compile(r"^License:[ \t]*(\S.*)$", re.MULTILINE)
_CLASSIFIER = "License :: OSI Approved :: "


def main() -> None:
    """Print the packages."""
    packages = [
        {"type": "generic", "name": "python", "version": platform.python_version(), "licences": ["PSF-2.0"]},
        *python_packages(),
        *debian_packages(),
    ]
    json.dump({"os": platform.freedesktop_os_release(), "packages": packages}, sys.stdout)


def python_packages() -> list[dict[str, object]]:
    """The distributions that Python finds."""
    found: dict[str, dict[str, object]] = {}
    for each in importlib.metadata.distributions():
        name = re.sub(r"[-_.]+", "-", each.metadata["Name"]).lower()
        found[name] = {"type": "pypi", "name": name, "version": each.version, "licences": licences_of(each)}
    return [found[name] for name in sorted(found)]


def licences_of(distribution: importlib.metadata.Distribution) -> list[str]:
    """The SPDX expression, or what the classifiers or the field License say."""
    fields = distribution.metadata
    if expressions := fields.get_all("License-Expression"):
        return list(expressions)
    classifiers = [each for each in fields.get_all("Classifier") or [] if each.startswith(_CLASSIFIER)]
    if classifiers:
        return [each.removeprefix(_CLASSIFIER) for each in classifiers]
    return [text.strip().splitlines()[0] for text in fields.get_all("License") or [] if text.strip()]


def debian_packages() -> list[dict[str, object]]:
    """The installed packages of Debian. Their licences are those of the file debian/copyright."""
    if not _STATUS.exists():
        return []
    found: list[dict[str, object]] = []
    for paragraph in _STATUS.read_text(encoding="utf-8").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Status") != "install ok installed":
            continue
        copyright_file = _DOCS / fields["Package"] / "copyright"
        text = copyright_file.read_text(encoding="utf-8", errors="replace") if copyright_file.exists() else ""
        licences = sorted({each.strip() for each in _LICENCE_LINE.findall(text)})
        entry = {"type": "deb", "name": fields["Package"], "version": fields["Version"], "licences": licences}
        found.append({**entry, "architecture": fields["Architecture"]})
    return found


main()
