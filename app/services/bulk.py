"""Stub."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from app.schemas import ListQuery

MOST = 10_000
Action = Literal["activate", "deactivate", "role", "delete", "restore"]


@dataclass(frozen=True, slots=True)
class Chosen:
    ids: tuple[uuid.UUID, ...] = ()
    query: ListQuery | None = None
    deleted_at: datetime | None = None


def apply(*a, **k):
    raise NotImplementedError
