"""Logging: one line of JSON per event, or text on a terminal. Lines contain no personal data except ids."""

import contextlib
import logging
import os
import sys
from typing import Any

import orjson
import structlog

_STDERR = 2


def configure_logs(level: str, log_format: str, *processors: Any) -> None:
    """Configure structlog and the logging module of Python alike.

    level: debug, info, warning or error. log_format: json, text or auto (text on a terminal). processors: of structlog;
    they add to each event.
    """
    as_text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        *processors,
    ]
    renderer: list[Any] = (
        # Other formatters show the variables of each function, and so passwords.
        [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)]
        if as_text
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_dump)]
    )
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _LineWriter(),
        cache_logger_on_first_use=True,
    )
    handler = _LineHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING if level == "info" else level.upper())


class _LineWriter:
    """Writes each line to standard error with one system call.

    The workers share the stream. There is no lock, because a lock that is held during a fork stays locked in the new
    process.
    """

    def msg(self, line: str) -> None:
        """Write a line. Errors are ignored: there is no place to report them."""
        with contextlib.suppress(OSError):
            os.write(_STDERR, f"{line}\n".encode(errors="backslashreplace"))

    debug = info = warning = error = critical = exception = msg


class _LineHandler(logging.Handler):
    """Writes records of the logging module."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        _LineWriter().msg(self.format(record))


def _dump(event: dict[str, Any], **_: Any) -> str:
    return orjson.dumps(event, default=str).decode()
