"""State machine of model versions: a fold over ledger entries, and the transitions the table allows.

Pure. Belongs here: the table (docs/model-lifecycle.md). `fold` takes what is written as it is, also what older code
wrote; `refusal` judges what may be written next.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, get_args

Transition = Literal["candidate", "challenger", "champion", "archived", "rolled_back", "freeze_lifted", "sealed"]
TRANSITIONS: tuple[Transition, ...] = get_args(Transition)
Stage = Literal["candidate", "challenger", "champion", "previous", "archived", "quarantined"]
COOLDOWN = timedelta(hours=24)
FREEZE_WINDOW = timedelta(days=7)  # a second rollback within it freezes promotion


class Step(NamedTuple):
    """What `fold` needs of a ledger entry; `data`: SHA-256 of the snapshot the version learned from."""

    sequence: int
    transition: str
    version: str
    at: datetime
    successor: str | None = None
    data: str | None = None


@dataclass(frozen=True)
class LedgerState:
    """After entry `sequence`. Versions are the registry's numbers as text."""

    sequence: int = 0
    stages: Mapping[str, Stage] = field(default_factory=dict)
    since: Mapping[str, int] = field(default_factory=dict)  # version → entry that gave it its stage
    champion: str | None = None  # None: the heuristic ranker serves
    challenger: str | None = None
    predecessors: tuple[str, ...] = ()  # what served before the champion and may again, newest first
    data: Mapping[str, str] = field(default_factory=dict)  # version → SHA-256 of its snapshot
    last_rollback: datetime | None = None
    frozen: str | None = None  # why nothing goes up until a person lifts it
    frozen_by: int = 0  # the rollback's entry, also after the freeze was lifted

    @property
    def previous(self) -> str | None:
        """The last version that served before the champion."""
        return self.predecessors[0] if self.predecessors else None

    @property
    def cooldown_until(self) -> datetime | None:
        return self.last_rollback + COOLDOWN if self.last_rollback else None

    @property
    def quarantined_data(self) -> frozenset[str]:
        """Snapshots that a quarantined version learned from."""
        return frozenset(self.data[v] for v, now in self.stages.items() if now == "quarantined" and v in self.data)


@dataclass
class _Fold:
    """A state in the making; `served`: oldest first, without the champion."""

    stages: dict[str, Stage] = field(default_factory=dict)
    since: dict[str, int] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    served: list[str] = field(default_factory=list)
    champion: str | None = None
    last_rollback: datetime | None = None
    frozen: str | None = None
    sequence: int = 0
    frozen_by: int = 0

    def add(self, step: Step) -> None:
        self.sequence = step.sequence
        if step.data:
            self.data.setdefault(step.version, step.data)
        changed = self._changes(step)
        if step.transition in ("champion", "rolled_back"):
            for other in self.served:
                changed[other] = "previous" if other == self.served[-1] else "archived"
            if self.champion:
                changed[self.champion] = "champion"
        for name, now in changed.items():
            if self.stages.get(name) != now:
                self.stages[name], self.since[name] = now, step.sequence

    def _changes(self, step: Step) -> dict[str, Stage]:
        """Stages that the step itself gives; who serves next is settled afterwards."""
        version = step.version
        match step.transition:
            case "candidate":
                return {version: self.stages.get(version, "candidate")}
            case "challenger":
                return {version: "challenger"}
            case "archived" | "rejected":
                if self.stages.get(version, "candidate") in ("candidate", "challenger"):
                    return {version: "archived"}
            case "champion":
                if self.champion is not None and self.champion != version:
                    self.served.append(self.champion)
                self.served = [other for other in self.served if other != version]
                self.champion = version
            case "rolled_back":
                return self._roll_back(step)
            case "freeze_lifted":
                self.frozen = None
        return {}

    def _roll_back(self, step: Step) -> dict[str, Stage]:
        changed: dict[str, Stage] = {step.version: "quarantined"}
        while self.served and self.served[-1] != step.successor:
            changed[self.served.pop()] = "archived"  # could not be loaded
        self.champion = self.served.pop() if self.served else None
        if self.last_rollback and step.at - self.last_rollback <= FREEZE_WINDOW:
            self.frozen = f"two rollbacks in {FREEZE_WINDOW.days} days, the second of version {step.version}"
            self.frozen_by = step.sequence
        self.last_rollback = step.at
        return changed


def fold(steps: Iterable[Step]) -> LedgerState:
    """The state after `steps`, in the order of their sequence."""
    folded = _Fold()
    for step in steps:
        folded.add(step)
    return LedgerState(
        sequence=folded.sequence,
        stages=folded.stages,
        since=folded.since,
        champion=folded.champion,
        challenger=next((version for version, now in folded.stages.items() if now == "challenger"), None),
        predecessors=tuple(reversed(folded.served)),
        data=folded.data,
        last_rollback=folded.last_rollback,
        frozen=folded.frozen,
        frozen_by=folded.frozen_by,
    )


def refusal(
    state: LedgerState,
    transition: Transition,
    version: str,
    at: datetime,
    *,
    data: str | None = None,
    successor: str | None = None,
    by_hand: bool = False,
    experiments: bool = True,
) -> str | None:
    """Why the table does not allow this transition; None when it does.

    data: snapshot hash of a new candidate. successor: what serves after a rollback, None for the heuristic ranker.
    A person need not wait for an experiment or the cooldown; a freeze binds everybody until it is lifted.
    experiments: off, a candidate that passed the gate replaces the champion directly. Raises ValueError for an unknown
    transition.
    """
    stage = state.stages.get(version)
    shown = f"version {version} is {stage}" if stage else f"version {version} is not in the ledger"
    match transition:
        case "candidate":
            if stage:
                return f"{shown} already"
            return _quarantined(state, data)
        case "challenger":
            if stage != "candidate":
                return f"{shown}: only a candidate becomes challenger"
            if state.champion is None:
                return "there is no champion to challenge: a candidate that passes the gate becomes the first one"
            if state.challenger:
                return f"version {state.challenger} is the open challenger: there is one at a time"
            return _quarantined(state, state.data.get(version)) or _held(state, at, by_hand)
        case "champion":
            if stage not in ("candidate", "challenger"):
                back = ": it comes back by a rollback of the champion" if stage == "previous" else ""
                return f"{shown}: only a challenger becomes champion{back}"
            if stage == "candidate" and experiments and not by_hand:
                if state.champion:
                    return f"{shown}: with a champion in place it must be challenger first"
                if state.challenger:
                    return f"version {state.challenger} is the open challenger: its experiment comes first"
            return _quarantined(state, state.data.get(version)) or _held(state, at, by_hand)
        case "archived":
            return (
                None if stage in ("candidate", "challenger") else f"{shown}: only a candidate or challenger is archived"
            )
        case "rolled_back":
            if stage != "champion":
                return f"{shown}: only the champion is rolled back"
            if successor is not None and successor not in state.predecessors:
                return f"version {successor} did not serve before version {version}, or may not again"
            return None
        case "freeze_lifted":
            return None if state.frozen else "promotion is not frozen"
        case "sealed":
            if stage in (None, "quarantined"):
                return f"{shown}: it will not serve"
            return None if by_hand else f"{shown}: only a person says which file it is"
    raise ValueError(f"unknown transition {transition!r}: one of {', '.join(TRANSITIONS)}")


def _quarantined(state: LedgerState, data: str | None) -> str | None:
    if data in state.quarantined_data:
        return f"its data (SHA-256 {str(data)[:12]}…) are those of a quarantined version"
    return None


def _held(state: LedgerState, at: datetime, by_hand: bool) -> str | None:
    if state.frozen:
        return f"promotion is frozen until a person lifts it: {state.frozen}"
    if not by_hand and state.cooldown_until and at < state.cooldown_until:
        return f"cooldown after a rollback until {state.cooldown_until.isoformat(timespec='minutes')}"
    return None
