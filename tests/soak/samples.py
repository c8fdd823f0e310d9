"""Takes samples: what the service, PostgreSQL and Redis use now. A sample has a number for each name."""

import time
from collections import Counter
from pathlib import Path
from typing import Any, Self

import psutil
import psycopg
import redis

from tests.soak.client import Load

MB = 2**20
TABLES = ("users", "history", "identifiers", "tokens", "idempotency_keys")
_STATES = {"01": "established", "06": "TIME_WAIT", "08": "CLOSE_WAIT"}
_ACTIVITY = """
SELECT count(*), count(*) FILTER (WHERE state LIKE 'idle in%'),
       coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0),
       coalesce(max(age(backend_xmin)), 0)
FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name <> 'soak'
"""
_SIZES = """
SELECT c.relname, pg_table_size(c.oid),
       (SELECT sum(pg_relation_size(i.indexrelid)) FROM pg_index i
        WHERE i.indrelid = c.oid AND i.indexrelid <> 'users_by_search_vector'::regclass),
       s.n_dead_tup
FROM pg_class c JOIN pg_stat_user_tables s ON s.relid = c.oid WHERE c.relname = ANY(%s)
"""


class Sampler:
    """Takes samples of a site under load. Use it as a context manager."""

    def __init__(self, load: Load) -> None:
        self._load, self._site = load, load.site
        self._began = time.monotonic()
        self._log_read = self._noted = 0
        self._postmaster = psutil.Process(int(self._site.servers.postgres.pid or 0))

    def __enter__(self) -> Self:
        url = self._site.servers.postgres.url
        self._database = psycopg.connect(url, autocommit=True, application_name="soak")
        self._redis = redis.Redis.from_url(self._site.servers.redis.url)
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()
        self._redis.close()

    def sample(self) -> dict[str, Any]:
        """The numbers of this moment; also notes what is wrong at once, as an error in the log."""
        self._note_problems()
        counts = {name: self._load.counts[name] for name in ("requests", "writes", "unavailable", "problems")}
        return {
            "seconds": round(time.monotonic() - self._began, 2),
            **counts,
            "noted": self._newly_noted(),
            **self._of_processes(),
            **self._of_sockets(),
            **self._of_postgres(),
            **self._of_tables(),
            **self._of_redis(),
            "temporary files": sum(1 for _ in self._site.temporary.rglob("*")),
            "log, kB": self._site.service.log.stat().st_size / 1024,
        }

    def _note_problems(self) -> None:
        for name in self._site.replaced_processes():
            self._load.note(f"the {name} has ended")
        with self._site.service.log.open(errors="replace") as log:
            log.seek(self._log_read)
            lines = log.read()
            self._log_read = log.tell()
        for line in lines.splitlines():
            if '"level":"error"' in line.replace(" ", "") or "Traceback" in line:
                self._load.note(f"log: {line[:500]}")

    def _newly_noted(self) -> list[str]:
        """The problems since the last sample, so that the file has them if the run is interrupted."""
        noted = self._load.problems[self._noted :]
        self._noted += len(noted)
        return noted

    def _of_processes(self) -> dict[str, float]:
        found = {}
        for name, process in self._site.processes.items():
            if process.is_running():
                found[f"resident memory of {name}, MB"] = process.memory_info().rss / MB
                found[f"file descriptors of {name}"] = process.num_fds()
                found[f"threads of {name}"] = process.num_threads()
        backends = [private_memory(child.pid) for child in self._postmaster.children()]
        found["private memory of PostgreSQL, MB"] = sum(backends) / MB
        return found

    def _of_sockets(self) -> dict[str, int]:
        """Sockets of this service, PostgreSQL and Redis, by state. Both ends are on this machine, and count."""
        site = self._site
        ports = {site.service.port, site.servers.postgres.port, site.servers.redis.port}
        states: Counter[str] = Counter()
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            local, remote, state = line.split()[1:4]
            if ports & {int(end.rpartition(":")[2], 16) for end in (local, remote)}:
                states[_STATES.get(state, "other")] += 1
        return {f"sockets in {state}": states[state] for state in ("CLOSE_WAIT", "TIME_WAIT")}

    def _of_postgres(self) -> dict[str, float]:
        connections, idle, oldest, horizon = self._row(_ACTIVITY)
        (locks,) = self._row("SELECT count(*) FROM pg_locks WHERE pid <> pg_backend_pid()")
        files, written = self._row("SELECT temp_files, temp_bytes FROM pg_stat_database WHERE datname = 'usersdb'")
        return {
            "connections of PostgreSQL": connections,
            "transactions that are idle": idle,
            "oldest transaction, s": float(oldest),
            "oldest snapshot, transactions": horizon,
            "locks": locks,
            "temporary files of PostgreSQL": files,
            "temporary data of PostgreSQL, kB": float(written) / 1024,
        }

    def _of_tables(self) -> dict[str, float]:
        # PostgreSQL never removes the words of a GIN index that no row has any more.
        (search,) = self._row("SELECT pg_relation_size('users_by_search_vector')")
        found: dict[str, float] = {"dead rows": 0, "search index of users, kB": search / 1024}
        for name, table, indexes, dead in self._database.execute(_SIZES, [list(TABLES)]):
            found[f"table {name}, kB"], found[f"indexes of {name}, kB"] = table / 1024, float(indexes) / 1024
            found["dead rows"] += dead
            (found[f"rows of {name}"],) = self._row(f"SELECT count(*) FROM {name}")  # noqa: S608 - names of ours
        return found

    def _of_redis(self) -> dict[str, float]:
        memory_info, clients = self._redis.info("memory"), self._redis.info("clients")
        kinds: Counter[str] = Counter()
        keys = list(self._redis.scan_iter(count=1000))
        pipe = self._redis.pipeline(transaction=False)
        for key in keys:
            pipe.ttl(key)
        for key, ttl in zip(keys, pipe.execute(), strict=True):
            # -2: it has expired since.
            if ttl != -2:
                kind = ":".join(key.decode(errors="replace").split(":")[:2])
                kinds[f"keys {kind} {'without TTL' if ttl == -1 else 'with TTL'}"] += 1
                kinds["keys without TTL" if ttl == -1 else "keys with TTL"] += 1
        return {
            "memory of Redis, MB": memory_info["used_memory"] / MB,
            "connections of Redis": clients["connected_clients"],
            **kinds,
        }

    def _row(self, statement: Any) -> Any:
        return self._database.execute(statement).fetchone()


def private_memory(pid: int) -> int:
    """Memory of a process in bytes, without files and shared buffers; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))
