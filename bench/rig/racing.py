"""The race: for each workload all contenders in turns, in another order each round."""

import itertools
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields

from rig.contenders import Contender, Running
from rig.driving import Draws, Load, Turn, drive
from rig.ground import Ground
from rig.workloads import Workload, request

_IDS_PER_S = 40_000
"""Ids that are kept ready for a second of a turn: when they are used up, they come again."""
_WARM_UP_S = {"ids": 20}
"""By what is drawn: of users that are wanted zipf-like it takes so long until those who are wanted often are known."""
_SHORT_WARM_UP_S = 3

Results = dict[Workload, dict[Contender, Turn]]


@dataclass(frozen=True)
class Race:
    """How it is run: `rounds` that count, of `seconds` each."""

    contenders: Sequence[Running]
    ground: Ground
    database_pids: Sequence[int]
    rounds: int
    seconds: int

    def run(self, workloads: Sequence[Workload]) -> Results:
        """Medians of the rounds. Raises: SystemExit"""
        with_ids = [workload for workload in workloads if workload.draws == "ids"]
        self.ground.write_draws(len(with_ids) * self._ids_of_one)
        chance, numbers = random.Random(1), itertools.count()
        results: Results = {}
        for workload in workloads:
            began = time.monotonic()
            running = [contender for contender in self.contenders if contender.kind in workload.contenders]
            turns: dict[Contender, list[Turn]] = {contender.kind: [] for contender in running}
            for number in range(-1, self.rounds):
                draws = self._draws(workload, with_ids, number + 1)
                for contender in chance.sample(running, len(running)):
                    load = self._load(workload, contender, draws, next(numbers), warm_up=number < 0)
                    turns[contender.kind].append(drive(contender, load, self.database_pids))
            results[workload] = {kind: _median(of[1:]) for kind, of in turns.items()}
            sys.stderr.write(f"{workload.title}: {time.monotonic() - began:.0f} s\n")
        return results

    @property
    def _ids_of_one(self) -> int:
        """Of one workload: those of its warming up, then those of its rounds."""
        return (_WARM_UP_S["ids"] + self.rounds * self.seconds) * _IDS_PER_S

    def _draws(self, workload: Workload, with_ids: list[Workload], turn: int) -> Draws | None:
        """The same for all contenders of a round, other ones in each round of each workload. Turn 0 warms up."""
        if workload.draws is None:
            return None
        if workload not in with_ids:
            return self.ground.words(workload.draws, turn, self.rounds + 1)
        before_s = _WARM_UP_S["ids"] + (turn - 1) * self.seconds if turn else 0
        first = with_ids.index(workload) * self._ids_of_one + before_s * _IDS_PER_S
        return self.ground.ids_from(first, (self.seconds if turn else _WARM_UP_S["ids"]) * _IDS_PER_S)

    def _load(self, workload: Workload, contender: Running, draws: Draws | None, number: int, *, warm_up: bool) -> Load:
        requests = tuple(request(contender.kind, kind) for kind in workload.kinds)
        warm_up_s = _WARM_UP_S.get(workload.draws or "", _SHORT_WARM_UP_S)
        seconds = warm_up_s if warm_up else self.seconds
        return Load(requests, draws, workload.connections, seconds, f"{workload.key}-{number}-")


def _median(turns: Sequence[Turn]) -> Turn:
    return Turn(*(statistics.median(getattr(turn, field.name) for turn in turns) for field in fields(Turn)))
