"""Faults of a whole host: its clock jumps, or it is updated to a release with another migration."""

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

from tests.journal.cluster import Cluster, Host
from tests.journal.faults import fault

JUMPS_S = (-7200, -60, 60, 7200)
"""A session that was used a moment ago ends after 12 hours, and a valid token has no end."""

REVISION = '''"""A release that changes nothing."""

revision = "{revision}"
down_revision = "{before}"
branch_labels = depends_on = None


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
'''


@fault("clock of a host jumps", is_possible=lambda cluster: any(host.clock for host in cluster.hosts))
def clock_jumps(cluster: Cluster, _: Host, random: Random) -> Iterator[None]:
    (clock,) = [host.clock for host in cluster.hosts if host.clock]
    clock.jump(random.choice(JUMPS_S))
    yield
    clock.jump(0)


@fault("rolling update with a migration", on_host=False, bound_s=15)
def rolling_update(cluster: Cluster, _: Host, __: Random) -> Iterator[None]:
    """Both hosts are stopped and started with the new release, one after the other."""
    root = new_release(cluster)
    first, second = cluster.hosts
    _update(first, root)
    yield
    _update(second, root)


def _update(host: Host, root: Path) -> None:
    host.service.end()
    host.root = root
    host.restart()


def new_release(cluster: Cluster) -> Path:
    """A copy of the program with one more revision than the present one. Returns its folder."""
    present = cluster.hosts[0].root
    root = next(path for number in itertools.count() if not (path := cluster.folder / f"release-{number}").exists())
    shutil.copytree(present / "app", root / "app", ignore=shutil.ignore_patterns("__pycache__"))
    versions = root / "app" / "migrations" / "versions"
    newest = max(path.name for path in versions.glob("[0-9]*.py"))
    number = int(newest[:4]) + 1
    before = next(
        line.partition('"')[2].partition('"')[0]
        for line in (versions / newest).read_text().splitlines()
        if line.startswith("revision")
    )
    (versions / f"{number:04d}_nothing.py").write_text(REVISION.format(revision=f"{number:04d}", before=before))
    return root
