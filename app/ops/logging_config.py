"""Logging: one line of JSON per event, or readable text on a terminal. No personal data beyond ids."""

import contextlib
import logging
import os
import sys
from typing import Any

import orjson
import structlog

_STDERR = 2
_least = logging.NOTSET


def is_written(level: int) -> bool:
    """Whether what has this level is written. To ask a logger takes a microsecond."""
    return level >= _least


def configure_logs(level: str, form: str) -> None:
    """Set up structlog and send the standard library's records the same way.

    `level` is debug, info, warning or error; `form` is json, text or auto (text on a terminal).
    """
    global _least  # noqa: PLW0603 - as structlog's own configuration is
    _least = logging.getLevelNamesMapping()[level.upper()]
    as_text = form == "text" or (form == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    ]
    renderer: list[Any] = (
        # Others, where they are installed, show the variables of each function, passwords among them.
        [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)]
        if as_text
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_dump)]
    )
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Lines(),
        cache_logger_on_first_use=True,
    )
    handler = _LinesHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING if level == "info" else level.upper())


class _Lines:
    """Writes each line to standard error by one call to the system.

    The workers share the stream. There is no lock: one that a thread of the launcher holds while it forks would stay
    locked in the worker.
    """

    def msg(self, line: str) -> None:
        """Write a line. Where nobody can read it, it is lost."""
        with contextlib.suppress(OSError):
            os.write(_STDERR, f"{line}\n".encode(errors="backslashreplace"))

    debug = info = warning = error = critical = exception = msg


class _LinesHandler(logging.Handler):
    """The same for records of the standard library."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        _Lines().msg(self.format(record))


def _dump(event: dict[str, Any], **_: Any) -> str:
    return orjson.dumps(event, default=str).decode()
