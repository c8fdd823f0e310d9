"""Commands of `flask` that several tests run."""

from collections.abc import Callable

from click.testing import Result

PASSWORD = "correct horse battery"


def ada(flask: Callable[..., Result], *words: str, role: str = "admin") -> Result:
    """Create the user ada@example.org. `words`: further arguments of `flask users create`."""
    given = ("--email", "ada@example.org", "--role", role, "--password-stdin", *words)
    done = flask("users", "create", *given, stdin=f"{PASSWORD}\n")
    assert done.exit_code == 0, done.output
    return done
