"""Leases without a courier: for what is made in this process."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from flask import Flask

from app.infra.shared import SharedState

FOR_EVER = 1 << 62


def lend(app: Flask) -> None:
    """Let the application use its memory for good, as the launcher's courier does from moment to moment."""
    app.extensions["fullstack"].state.lease[0] = FOR_EVER


@contextmanager
def leased(path: Path) -> Iterator[SharedState]:
    """The state of a host whose memory may be used for good."""
    with closing(SharedState(path)) as state:
        state.lease[0] = state.asked[0] = FOR_EVER
        yield state


def stamps(state: SharedState) -> list[int]:
    """Those of all slots."""
    epoch = state.epoch[0]
    return [number ^ epoch for number in state.slots]
