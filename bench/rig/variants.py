"""Variants of the service for bench/ablation.py: each is the service with one mechanism replaced by a plainer one.

Which mechanisms there are, and the workloads that could miss them. How they are replaced is in rig.replaced, which runs
in the process of the service.
"""

from dataclasses import dataclass, replace

from rig import ROOT
from rig.contenders import OURS, OWN_VENV, Contender

_LAUNCHER = str(ROOT / "bench" / "rig" / "replaced.py")
_READS = ("one", "zipf", "page")
_SEARCHES = ("search", "rare", "once")
_ALL = (*_READS, *_SEARCHES, "create", "mixed")


@dataclass(frozen=True)
class Variant:
    """`key` names the replaced parts, joined by `+`; `workloads` are those of rig.workloads that may show it."""

    key: str
    title: str
    workloads: tuple[str, ...]
    has_memory: bool = False
    is_seen_alone: bool = True
    """Whether it shows in single requests, without a server."""

    @property
    def contender(self) -> Contender:
        """The service without this mechanism."""
        command = (str(OWN_VENV / "bin" / "python"), _LAUNCHER, self.key)
        return replace(OURS, name=f"ours {self.key}", title=self.title, command=command)


WHOLE = Variant("", "whole", _ALL, has_memory=True)
VARIANTS = (
    Variant("lane", "Flask's views instead of the express lane", ("one", "page", "search", "once", "create", "mixed")),
    Variant(
        "wsgi",
        "granian's WSGI instead of ASGI and own threads",
        ("one", "page", "once", "create"),
        has_memory=True,
        is_seen_alone=False,
    ),
    Variant("wsgi+lane", "Flask on granian's WSGI", ("one", "page", "once", "create"), is_seen_alone=False),
    Variant("response", "response cache before Flask instead of the lane", _ALL),
    Variant("wsgi+response", "response cache and Flask on granian's WSGI", _ALL, is_seen_alone=False),
    Variant(
        "wsgi+response+table+ahead+pages+idle+warm",
        "response cache, Flask, WSGI; no table, read-ahead, durable pages, second pool, warm-up",
        _ALL,
        has_memory=True,
        is_seen_alone=False,
    ),
    Variant(
        "response+table+ahead+pages+idle+warm",
        "response cache, Flask; no table, read-ahead, durable pages, second pool, warm-up",
        _ALL,
        has_memory=True,
    ),
    Variant("table+ahead", "no table of users shared by processes", ("one", "zipf", "mixed"), has_memory=True),
    Variant("ahead", "no read-ahead of users", ("zipf", "mixed")),
    Variant("pages", "no pages that outlive writes", ("page", "mixed")),
    Variant("idle", "SQLAlchemy's pool alone, no connections handed on", ("rare", "once", "create")),
    Variant("pool", "psycopg_pool instead of connections handed on", ("rare", "once", "create")),
    Variant("libpq", "psycopg's public API instead of libpq's calls", ("rare", "once", "create")),
    Variant("group", "no group commit: each write is a statement of its own", ("create", "mixed")),
    Variant("batch", "no batching of look-ups of users", ("zipf", "mixed")),
    Variant("flight", "no single flight", ("search", "rare", "mixed")),
    Variant("redis", "no answers in Redis", ("search", "rare", "once", "mixed")),
    Variant("telling", "other hosts are not told of writes through Redis", ("create", "mixed")),
    Variant("count", "writes are not counted", ("create",)),
    Variant("warm", "no warm-up before processes are forked", ("one",), has_memory=True, is_seen_alone=False),
    Variant("freeze", "no gc.freeze before processes are forked", ("one",), has_memory=True, is_seen_alone=False),
)
