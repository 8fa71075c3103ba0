"""The table of transitions: what it refuses, and what holds whatever is tried in whatever order."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.lifecycle.states import COOLDOWN, FREEZE_WINDOW, TRANSITIONS, LedgerState, Step, fold, refusal

AT = datetime(2026, 3, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def history(*steps: tuple[Any, ...]) -> LedgerState:
    """(transition, version[, successor[, data]]) an hour apart; the data of version n are 'data n'."""

    def step(n: int, transition: str, version: str, successor: str | None = None, data: str | None = None) -> Step:
        return Step(n, transition, version, AT + n * HOUR, successor, data or f"data {version}")

    return fold(step(n, *given) for n, given in enumerate(steps, start=1))


A = [("candidate", "1"), ("champion", "1")]
AB = [*A, ("candidate", "2"), ("challenger", "2"), ("champion", "2")]
ABC = [*AB, ("candidate", "3"), ("challenger", "3"), ("champion", "3")]


def test_a_life() -> None:
    state = history(*ABC, ("candidate", "4"), ("challenger", "4"), ("candidate", "5"), ("archived", "5"))
    assert state.stages == {
        "1": "archived",
        "2": "previous",
        "3": "champion",
        "4": "challenger",
        "5": "archived",
    }
    assert state.since == {"1": 8, "2": 8, "3": 8, "4": 10, "5": 12}
    assert (state.champion, state.challenger, state.predecessors) == ("3", "4", ("2", "1"))


def test_rollbacks_go_back_through_what_served_until_the_hand_weights() -> None:
    once = history(*ABC, ("rolled_back", "3", "2"))
    assert (once.champion, once.previous, once.stages["3"], once.frozen) == ("2", "1", "quarantined", None)
    assert once.quarantined_data == {"data 3"}
    assert once.cooldown_until == AT + 9 * HOUR + COOLDOWN
    twice = history(*ABC, ("rolled_back", "3", "2"), ("rolled_back", "2", "1"))
    assert (twice.champion, twice.previous) == ("1", None)
    assert twice.frozen == "two rollbacks in 7 days, the second of version 2"
    thrice = history(*ABC, ("rolled_back", "3", "2"), ("rolled_back", "2", "1"), ("rolled_back", "1"))
    assert (thrice.champion, thrice.frozen) == (None, "two rollbacks in 7 days, the second of version 1")
    # the only one there was: candidates go on after the cooldown
    assert history(*A, ("rolled_back", "1")).frozen is None
    # one that could not be loaded is passed over, for good
    passed_over = history(*ABC, ("rolled_back", "3", "1"))
    assert (passed_over.champion, passed_over.stages["2"], passed_over.previous) == ("1", "archived", None)


def test_rollbacks_far_apart_freeze_nothing() -> None:
    steps = [Step(n, *step[:2], AT + n * HOUR) for n, step in enumerate(ABC, start=1)]
    first = Step(9, "rolled_back", "3", AT + 10 * HOUR, "2")
    for apart, frozen in ((FREEZE_WINDOW, True), (FREEZE_WINDOW + HOUR, False)):
        state = fold([*steps, first, Step(10, "rolled_back", "2", first.at + apart, "1")])
        assert bool(state.frozen) is frozen


def test_entries_of_older_ledgers_read_as_what_they_meant() -> None:
    state = history(("candidate", "1"), ("champion", "1"), ("candidate", "2"), ("rejected", "2"), ("rejected", "1"))
    assert state.stages == {"1": "champion", "2": "archived"}


ROLLED = [*ABC, ("rolled_back", "3", "2")]
ALONE = [*A, ("candidate", "2"), ("challenger", "2"), ("rolled_back", "1")]  # a challenger, and none serves
FROZEN = [*ROLLED, ("rolled_back", "2", "1")]
SAME = [*ROLLED[:-1], ("candidate", "5", None, "data 3"), ROLLED[-1]]
SOON, LATER = AT + 12 * HOUR, AT + 10 * DAY


@pytest.mark.parametrize(
    ("steps", "transition", "version", "named", "reason"),
    [
        (A, "candidate", "1", {}, "version 1 is champion already"),
        (ROLLED, "candidate", "9", {"data": "data 3"}, "quarantined version"),
        (A, "challenger", "7", {}, "version 7 is not in the ledger"),
        (AB, "challenger", "1", {}, "version 1 is previous: only a candidate"),
        ([("candidate", "1")], "challenger", "1", {}, "no champion to challenge"),
        ([*A, ("candidate", "2"), ("challenger", "2"), ("candidate", "3")], "challenger", "3", {}, "2 is the open"),
        ([*ROLLED, ("candidate", "4")], "challenger", "4", {"at": SOON}, "cooldown after a rollback until 2026-03-02"),
        ([*FROZEN, ("candidate", "4")], "challenger", "4", {}, "frozen until a person"),
        ([*A, ("candidate", "2")], "champion", "2", {}, "must be challenger first"),
        ([*ALONE, ("candidate", "3")], "champion", "3", {}, "2 is the open challenger"),
        (AB, "champion", "1", {}, "comes back by a rollback"),
        (SAME, "champion", "5", {"by_hand": True}, "quarantined version"),
        (SAME, "challenger", "5", {}, "quarantined version"),
        (ROLLED, "champion", "3", {"by_hand": True}, "version 3 is quarantined"),
        ([*A, ("candidate", "2"), ("archived", "2")], "champion", "2", {"by_hand": True}, "version 2 is archived"),
        ([*FROZEN, ("candidate", "4")], "champion", "4", {"by_hand": True}, "frozen until a person"),
        (A, "archived", "1", {}, "version 1 is champion: only"),
        (AB, "rolled_back", "1", {}, "version 1 is previous: only the champion"),
        (AB, "rolled_back", "2", {"successor": "3"}, "version 3 did not serve before"),
        (AB, "freeze_lifted", "2", {}, "not frozen"),
    ],
)
def test_refuses_with_the_reason(
    steps: list[Any], transition: Any, version: str, named: dict[str, Any], reason: str
) -> None:
    found = refusal(history(*steps), transition, version, **{"at": LATER, **named})
    assert found is not None
    assert reason in found


@pytest.mark.parametrize(
    ("steps", "transition", "version", "named"),
    [
        ([*A, ("candidate", "2")], "champion", "2", {"experiments": False}),
        ([*A, ("candidate", "2")], "champion", "2", {"by_hand": True}),
        (ALONE, "champion", "2", {}),
        ([*ALONE, ("candidate", "3")], "champion", "3", {"experiments": False}),
        ([*ALONE, ("candidate", "3")], "champion", "3", {"by_hand": True}),
        ([*ALONE, ("candidate", "3"), ("archived", "2")], "champion", "3", {}),
        ([*ROLLED, ("candidate", "4")], "champion", "4", {"by_hand": True, "at": SOON}),
        ([*ROLLED, ("candidate", "4")], "challenger", "4", {"at": AT + 9 * HOUR + COOLDOWN}),
        ([*ROLLED, ("candidate", "4")], "challenger", "4", {}),
        ([*FROZEN, ("freeze_lifted", "2"), ("candidate", "4")], "challenger", "4", {}),
        (FROZEN, "rolled_back", "1", {"at": SOON}),  # going back never waits
        (FROZEN, "freeze_lifted", "2", {}),
    ],
)
def test_allows(steps: list[Any], transition: Any, version: str, named: dict[str, Any]) -> None:
    assert refusal(history(*steps), transition, version, **{"at": LATER, **named}) is None


VERSIONS = [str(n) for n in range(1, 13)]
tries = st.lists(
    st.tuples(
        st.sampled_from([*TRANSITIONS, "candidate", "challenger", "challenger", "champion", "champion"]),
        st.sampled_from(VERSIONS),
        st.integers(0, 3),  # successor: which of the predecessors, or none of them
        st.sampled_from([HOUR, 3 * DAY]),
        st.booleans(),  # by hand
        st.booleans(),  # experiments
    ),
    min_size=40,
    max_size=80,
)


@given(tries, st.lists(st.integers(0, 6), min_size=12, max_size=12))
def test_whatever_is_tried_the_invariants_hold(tried: list[Any], snapshots: list[int]) -> None:
    data = {v: f"data {snapshot}" if snapshot else None for v, snapshot in zip(VERSIONS, snapshots, strict=True)}
    steps: list[Step] = [Step(n, "candidate", v, AT, None, data[v]) for n, v in enumerate(VERSIONS[:6], start=1)]
    state, at = fold(steps), AT
    for transition, version, back, later, by_hand, experiments in tried:
        at += later
        successor = None
        if transition == "rolled_back":
            version = state.champion or version
            successor = [*state.predecessors, version, None, None, None][back]
        named = {"data": data[version], "successor": successor, "by_hand": by_hand, "experiments": experiments}
        if refusal(state, transition, version, at, **named):
            continue
        before = state
        steps.append(Step(len(steps) + 1, transition, version, at, successor, data[version]))
        state = fold(steps)
        standings = list(state.stages.values())
        assert standings.count("champion") == (state.champion is not None)
        assert standings.count("previous") == (state.previous is not None)
        assert standings.count("challenger") == (state.challenger is not None)
        assert all(state.stages[v] == "quarantined" for v, now in before.stages.items() if now == "quarantined")
        assert all(
            state.stages[v] == "archived"
            for v, now in before.stages.items()
            if now == "archived" and v not in before.predecessors
        )
        assert before.frozen is None or state.frozen is not None or transition == "freeze_lifted"
        assert (before.frozen, transition) == (None, "champion") or transition != "champion"
        if transition == "champion":
            assert state.champion == version
            assert before.champion is None or state.previous == before.champion
            assert by_hand or not experiments or before.challenger in (None, version)
            assert by_hand or before.cooldown_until is None or at >= before.cooldown_until
        if transition == "rolled_back":
            assert state.stages[version] == "quarantined"
            assert state.champion == successor
        elif transition != "champion":
            assert state.champion == before.champion
        if transition in ("candidate", "challenger", "champion"):
            assert data[version] not in before.quarantined_data
            assert before.stages.get(version) != "quarantined"


def test_an_unknown_transition_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown transition"):
        refusal(LedgerState(), "rejected", "1", AT)  # type: ignore[arg-type]
