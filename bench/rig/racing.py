"""Runs the workloads: all contenders take turns, in another order in each round."""

import itertools
import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields

from rig.api import create_token, sign_in
from rig.contenders import Contender, Running, serving
from rig.driving import Draws, Load, Turn, drive
from rig.ground import Ground
from rig.transactions import transactions
from rig.workloads import Workload, request

_IDS_PER_S = 40_000
"""Ids prepared for each second of a turn. After the last one, the first one follows."""
_PIECE_S = 20
"""The longest piece of a warm-up, because wrk keeps the ids of a turn in memory."""
_OTHERS_WARM_UP_S = 3
_HIT_RATIO_S = 10

Results = dict[Workload, dict[Contender, Turn]]


@dataclass(frozen=True)
class Race:
    """One run: `rounds` turns of `seconds` each are counted. `settings` are those of the contenders."""

    contenders: Sequence[Running]
    ground: Ground
    settings: dict[str, str]
    database_pids: Sequence[int]
    rounds: int
    seconds: int
    hit_ratios: dict[Workload, float] = field(default_factory=dict)
    """Filled by `run`: the share of responses without a transaction, by workload."""
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _chance: random.Random = field(default_factory=lambda: random.Random(1))
    _stem: str = field(default_factory=lambda: f"{int(time.time()):x}")

    def run(self, workloads: Sequence[Workload]) -> Results:
        """Medians of the rounds. Raises: SystemExit"""
        lengths = {workload: self._ids_of(workload) for workload in workloads}
        self.ground.write_draws(sum(lengths.values()))
        offsets = itertools.accumulate(lengths.values(), initial=0)
        return {
            workload: self._run(_Draws(self, workload, first))
            for workload, first in zip(workloads, offsets, strict=False)
        }

    def _run(self, draws: "_Draws") -> dict[Contender, Turn]:
        workload, began = draws.workload, time.monotonic()
        running = [contender for contender in self.contenders if contender.kind in workload.contenders]
        tokens = {one.kind: _tokens(one, workload) for one in running}
        if not workload.after_start_s:
            self._warm_up(draws, running, tokens)
        turns: dict[Contender, list[Turn]] = {contender.kind: [] for contender in running}
        seconds = workload.after_start_s or self.seconds
        for _ in range(self.rounds):
            drawn = draws.take(seconds)
            for contender in self._chance.sample(running, len(running)):
                turns[contender.kind].append(self._turn(workload, contender, drawn, seconds, tokens[contender.kind]))
        if workload.has_hit_ratio:
            ours = next(contender for contender in running if contender.kind.is_ours)
            before = transactions(self.ground.url)
            turn = self._turn(workload, ours, draws.take(_HIT_RATIO_S), _HIT_RATIO_S, tokens[ours.kind])
            taken = transactions(self.ground.url) - before
            self.hit_ratios[workload] = 1 - taken / (turn.per_s * _HIT_RATIO_S)
        sys.stderr.write(f"{workload.title}: {time.monotonic() - began:.0f} s\n")
        return {kind: _median(of) for kind, of in turns.items()}

    def _warm_up(self, draws: "_Draws", running: Sequence[Running], tokens: "_Tokens") -> None:
        """Warm up ours for the time of the workload, in pieces. The other contenders cache nothing."""
        others = draws.take(_OTHERS_WARM_UP_S)
        for contender in running:
            if not contender.kind.is_ours:
                self._turn(draws.workload, contender, others, _OTHERS_WARM_UP_S, ())
        for seconds in _pieces(draws.workload.warm_up_s):
            drawn = draws.take(seconds)
            for contender in running:
                if contender.kind.is_ours:
                    self._turn(draws.workload, contender, drawn, seconds, tokens[contender.kind])

    def _turn(
        self, workload: Workload, contender: Running, draws: Draws | None, seconds: int, tokens: "_Headers"
    ) -> Turn:
        requests = tuple(request(contender.kind, kind) for kind in workload.kinds)
        stem = f"{workload.key}-{self._stem}-{next(self._numbers)}-"
        load = Load(requests, draws, workload.connections, seconds, stem, tokens)
        if not workload.after_start_s:
            return drive(contender, load, self.database_pids)
        with serving(contender.kind, self.settings, "", contender.headers) as started:
            return drive(started, load, self.database_pids)

    def _ids_of(self, workload: Workload) -> int:
        """The number of ids that all turns of a workload use."""
        if workload.draws != "ids":
            return 0
        of_rounds = self.rounds * (workload.after_start_s or self.seconds)
        return (_OTHERS_WARM_UP_S + workload.warm_up_s + of_rounds + _HIT_RATIO_S) * _IDS_PER_S


_Headers = tuple[dict[str, str], ...]
_Tokens = dict[Contender, _Headers]


class _Draws:
    """The draws of the turns of a workload: the same for all contenders of a round, others in the next round."""

    def __init__(self, race: Race, workload: Workload, first_id: int) -> None:
        self.workload = workload
        self._race, self._next_id, self._turn = race, first_id, 0
        # One more, for the warm-up of the others.
        self._turns = race.rounds + 1 + len(_pieces(workload.warm_up_s))

    def take(self, seconds: int) -> Draws | None:
        """The draws for one turn of this length."""
        if self.workload.draws is None:
            return None
        if self.workload.draws != "ids":
            self._turn += 1
            return self._race.ground.words(self.workload.draws, self._turn - 1, self._turns)
        drawn = self._race.ground.ids_from(self._next_id, seconds * _IDS_PER_S)
        self._next_id += seconds * _IDS_PER_S
        return drawn


def _pieces(seconds: int) -> list[int]:
    whole, rest = divmod(seconds, _PIECE_S)
    return [_PIECE_S] * whole + ([rest] if rest else [])


def _tokens(contender: Running, workload: Workload) -> _Headers:
    """Headers of each client. Empty: those of the contender."""
    if workload.tokens == 1 or not contender.kind.is_ours:
        return ()
    session = sign_in(contender.port)
    return tuple(create_token(contender.port, session, f"bench {number}") for number in range(workload.tokens))


def _median(turns: Sequence[Turn]) -> Turn:
    return Turn(*(statistics.median(getattr(turn, one.name) for turn in turns) for one in fields(Turn)))
