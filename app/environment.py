"""Reads the environment of a process: variables, files that variables name, and the memory limit."""

import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from app.errors import SettingsError

_RENAMED = {
    "WRITE_LIMIT": "WRITE_RATE_PER_MINUTE",
    "START_TIMEOUT_S": "DATABASE_WAIT_S",
    "BIND_ADDRESS": "PUBLISHED_ADDRESS",
}
"""Variables of earlier releases, and their present names."""
_LINE_END = re.compile(r"\r?\n\Z")
_MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""The memory limit of a container (cgroups 2 and 1)."""


def read_variables(environ: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """The values of the variables `names` that are set, also by NAME_FILE. An empty variable counts as not set.

    Raises: SettingsError
    """
    _refuse_renamed(environ)
    values = ((name, _read(environ, name)) for name in names)
    return {name: value for name, value in values if value is not None}


def memory_bytes() -> int:
    """The memory of the machine, or of the container if its limit is lower."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _MEMORY_LIMITS:
        with contextlib.suppress(OSError, ValueError):
            # The file contains "max" if there is no limit.
            limits.append(int(path.read_text(encoding="ascii")))
    return min(limits)


def _refuse_renamed(environ: Mapping[str, str]) -> None:
    suffixed = ((f"{old}{suffix}", f"{new}{suffix}") for old, new in _RENAMED.items() for suffix in ("", "_FILE"))
    found = [f"{old} is now {new}" for old, new in suffixed if environ.get(old)]
    if found:
        raise SettingsError(f"{'; '.join(found)}. Rename the variable.")


def _read(environ: Mapping[str, str], name: str) -> str | None:
    """The variable NAME, or the text of the file NAME_FILE, without one final line end. None: neither is set."""
    value, path = environ.get(name, ""), environ.get(f"{name}_FILE", "")
    if value and path:
        raise SettingsError(f"{name} and {name}_FILE are both set; keep one of them.")
    if not path:
        return _LINE_END.sub("", value) or None
    return _LINE_END.sub("", _read_file(name, path))


def _read_file(name: str, path: str) -> str:
    """The text of a file in UTF-8, without a byte order mark."""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SettingsError(f"{name}_FILE: can't read {path}: {error.__class__.__name__}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{name}_FILE: {path} is no text in UTF-8") from None
    if "\0" in text:
        raise SettingsError(f"{name}_FILE: {path} holds a NUL; it must be text in UTF-8")
    return text
