"""Lets the wall clock of one host jump, and leaves its monotonic clock as it is.

libfaketime is no help here. Where the monotonic clock stays real, sleep() of Python fails with 0.9.10 (Debian 12), and
with the newest release reads of the service took 600 ms instead of 20. So wall_clock.c is compiled, one page of C.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

MISSING = "clocks do not jump: there is no C compiler for Linux (Debian: apt-get install gcc libc6-dev)"


class WallClock:
    """The wall clock of the programs that run with `env`."""

    def __init__(self, folder: Path) -> None:
        self._file, library = folder / "clock", folder / "wall_clock.so"
        self.jump(0)
        source = str(Path(__file__).with_name("wall_clock.c"))
        command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), source, "-ldl"]
        subprocess.run(command, check=True)
        self.env = {"LD_PRELOAD": str(library), "CLOCK_FILE": str(self._file)}

    @staticmethod
    def is_possible() -> bool:
        return sys.platform == "linux" and shutil.which("cc") is not None

    def jump(self, seconds: int) -> None:
        """Let the clock be off by that much. All running programs see it at once."""
        file = os.open(self._file, os.O_WRONLY | os.O_CREAT)
        os.write(file, seconds.to_bytes(8, "little", signed=True))
        os.close(file)
