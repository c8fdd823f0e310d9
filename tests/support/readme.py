"""Types the commands of the README. Port and file names are replaced."""

from pathlib import Path

from tests.support.markdown import blocks
from tests.support.shell import Shell

PASSWORD = "correct horse battery"
WAYS = ("With Docker", "Without Docker")


def commands(way: str) -> list[str]:
    """The blocks of commands for one of WAYS, in order. The first block starts the service."""
    others = [other for other in WAYS if other != way]
    return [
        block.text.strip()
        for block in blocks("README.md")
        if block.language == "sh" and not any(block.before.startswith(f"{other}") for other in others)
    ]


def walk(shell: Shell, typed: list[str], port: str, folder: Path) -> list[str]:
    """Type the blocks, and check that each succeeds. Returns their outputs."""
    printed = []
    for block in typed:
        text = block.replace("localhost:5000", f"localhost:{port}").replace(" cookies ", f" {folder}/cookies ")
        asks = [("Password: ", PASSWORD), ("Repeat the password: ", PASSWORD)] if "users create" in text else []
        output, status = shell.type(text, asks)
        assert status == 0, f"{block}\n{output}"
        printed.append(output)
    return printed


def check(printed: list[str]) -> None:
    """Check the outputs of the first two steps."""
    text = "\n".join(printed)
    for expected in ("Ada Lovelace", '"role":"editor"', '"action":"changed"', '"version":4', '"kind":"session"'):
        assert expected in text, text
    assert '"status":401' not in text
