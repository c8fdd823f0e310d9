"""Runs `python -m app` and records the functions of app/ that are entered while a window is open.

    python bench/rig/traced.py WINDOW NOTES

WINDOW is a file of one byte that all processes of the service map: the number of the open window, 0 for none. Each
function is appended to NOTES when a thread first enters it in a window, as fields separated by tabs:
window, process, thread, file, first line, qualified name. A request adds a line with SERVED in place of the file.
"""

import mmap
import os
import runpy
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SERVED = "-"
_APP = f"{ROOT / 'app'}{os.sep}"


class Tracer:
    """The profile function of all threads."""

    def __init__(self, window: Path, notes: Path) -> None:
        with window.open("r+b") as file:
            self._window = mmap.mmap(file.fileno(), 1)
        self._notes = os.open(notes, os.O_WRONLY | os.O_APPEND)
        self._seen: set[tuple[int, int, int, CodeType]] = set()

    def profile(self, frame: FrameType, event: str, _: object) -> None:
        """Record a function that this thread has not entered in this window. See sys.setprofile."""
        if event != "call" or not self._window[0]:
            return
        code = frame.f_code
        if not code.co_filename.startswith(_APP) or not code.co_filename.endswith(".py"):
            return
        key = self._window[0], os.getpid(), threading.get_ident(), code
        if key not in self._seen:
            self._seen.add(key)
            self._note(code.co_filename.removeprefix(_APP), code.co_firstlineno, code.co_qualname)

    def served(self) -> None:
        """Record that this process serves a request, in a thread that may be the server's."""
        if sys.getprofile() is None:
            sys.setprofile(self.profile)
        if self._window[0]:
            self._note(SERVED, 0, "")

    def _note(self, file: str, line: int, name: str) -> None:
        fields = (self._window[0], os.getpid(), threading.get_ident(), file, line, name)
        os.write(self._notes, ("\t".join(map(str, fields)) + "\n").encode())


def main() -> None:
    """Serve until told to stop."""
    tracer = Tracer(*map(Path, sys.argv[1:3]))
    sys.path[0] = str(ROOT)
    _wrap_factory(tracer)
    # Forked processes inherit both.
    threading.setprofile(tracer.profile)
    sys.setprofile(tracer.profile)
    sys.argv[1:] = []
    runpy.run_module("app", run_name="__main__", alter_sys=True)


def _wrap_factory(tracer: Tracer) -> None:
    """Make every new application report its requests to the tracer."""
    from app import factory  # noqa: PLC0415 - importable only now

    create_app = factory.create_app

    def create_traced_app(*args: Any, **options: Any) -> Any:
        app = create_app(*args, **options)
        inner: Callable[..., Iterable[bytes]] = app.wsgi_app

        def wsgi_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            tracer.served()
            return inner(environ, start_response)

        app.wsgi_app = wsgi_app
        return app

    factory.create_app = create_traced_app


if __name__ == "__main__":
    main()
