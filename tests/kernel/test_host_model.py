"""Whatever is said in whatever order, the host says to the provider what a small model says."""

from __future__ import annotations

import threading
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from recorder import IDEMPOTENT, SILENT, UPDATING, Page, plugins_of, rule_of

from hostspec import Alert, Capabilities, Operation, Outcome, OutcomeKind
from hostspec.kernel import Host

KINDS = st.sampled_from(OutcomeKind)
KEYS = st.sampled_from(["a", "b", "c"])
TEAMS = ("one", "two")


class Provider:
    """The model: which alerts hold which team's incident, as far as the host can know."""

    def __init__(self, can: Capabilities, *, shared: bool) -> None:
        self.can = can
        self.shared = shared
        self.holders: dict[tuple[str, str], list[str]] = {}
        self.handles: dict[tuple[str, str], int | None] = {}

    def place(self, team: str, key: str) -> tuple[str, str]:
        return team, "everything" if self.shared else key

    def expected(self, status: str, key: str, teams: list[str]) -> list[tuple[str, str, Any]]:
        """Say what is sent for a statement: operation, team, handle."""
        routed = [self.place(team, key) for team in teams]
        held = [place for place, holders in self.holders.items() if key in holders]
        sent: list[tuple[str, tuple[str, str]]] = []
        if status == "firing":
            for place in routed:
                if place not in self.holders or self.can.idempotent:
                    sent.append(("trigger", place))
                elif self.can.update:
                    sent.append(("update", place))
        elif status == "acknowledged":
            sent += [("acknowledge", place) for place in held if self.can.acknowledge]
            sent += [("acknowledge", place) for place in routed if place not in self.holders]
        else:
            alone = [place for place in held if self.holders[place] == [key]]
            sent += [("resolve", place) for place in alone if self.can.resolve]
            sent += [("resolve", place) for place in routed if place not in self.holders]
        return [(operation, place[0], self.handles.get(place)) for operation, place in sent]

    def settle(
        self, status: str, key: str, teams: list[str], outcomes: dict[str, tuple[OutcomeKind, int]]
    ) -> None:
        """Take note of what came of it, by team."""
        routed = [self.place(team, key) for team in teams]
        held = [place for place, holders in self.holders.items() if key in holders]
        if status == "firing":
            for place in routed:
                kind, handle = outcomes.get(place[0], (OutcomeKind.DELIVERED, 0))
                if place in self.holders and not self.can.idempotent:
                    self._hold(place, key)
                elif self._arrived(kind):
                    self._hold(place, key)
                    self.handles[place] = self.handles.get(place) or handle
        elif status == "resolved":
            for place in held:
                alone = self.holders[place] == [key]
                kind, _ = outcomes.get(place[0], (OutcomeKind.DELIVERED, 0))
                if not alone or not self.can.resolve or kind is OutcomeKind.DELIVERED:
                    self.holders[place].remove(key)
                if not self.holders[place]:
                    del self.holders[place]
                    self.handles.pop(place)

    def _hold(self, place: tuple[str, str], key: str) -> None:
        holders = self.holders.setdefault(place, [])
        if key not in holders:
            holders.append(key)

    def _arrived(self, kind: OutcomeKind) -> bool:
        doubtful = (OutcomeKind.UNREACHABLE, OutcomeKind.FAULTED)
        known = (OutcomeKind.DELIVERED, OutcomeKind.UNCERTAIN)
        return kind in known or (self.can.idempotent and kind in doubtful)


class Story(RuleBasedStateMachine):
    """A host, its model, and what is said to both."""

    @initialize(can=st.sampled_from([IDEMPOTENT, UPDATING, SILENT]), shared=st.booleans())
    def start(self, can: Capabilities, *, shared: bool) -> None:
        self.model = Provider(can, shared=shared)
        correlate = (lambda _: "everything") if shared else (lambda alert: alert.key)
        self.page = Page(can, correlate=correlate)
        self.page.behaviour["send"] = self.answer
        plugins = plugins_of(self.page)
        self.routed: list[str] = []
        self.host = Host(
            plugins,
            [
                rule_of(plugins, team, lambda _, team=team: team in self.routed, teams=[team])
                for team in TEAMS
            ],
        )
        self.kinds: list[OutcomeKind] = []
        self.count = 0
        self.lock = threading.Lock()
        self.outcomes: dict[str, tuple[OutcomeKind, int]] = {}

    def answer(self, delivery: Any) -> Outcome:
        """Come to what the story says; only a trigger's outcome has a handle, which is new."""
        with self.lock:
            kind = self.kinds[len(self.outcomes)]
            self.count += 1
            number = self.count
            self.outcomes[delivery.place.destination] = kind, number
        trigger = delivery.operation is Operation.TRIGGER
        return Outcome(kind, handle={"id": number} if trigger else None)

    @rule(
        status=st.sampled_from(["firing", "acknowledged", "resolved"]),
        key=KEYS,
        teams=st.lists(st.sampled_from(TEAMS), unique=True),
        kinds=st.lists(KINDS, min_size=len(TEAMS), max_size=len(TEAMS)),
    )
    def say(self, status: str, key: str, teams: list[str], kinds: list[OutcomeKind]) -> None:
        self.routed, self.kinds, self.outcomes = sorted(teams), kinds, {}
        expected = self.model.expected(status, key, self.routed)
        self.page.sent.clear()

        report = self.host.handle(Alert(key, status=status))

        sent = [
            (str(sent.operation), sent.destination, (sent.handle or {}).get("id"))
            for sent in self.page.sent
        ]
        assert sorted(map(str, sent)) == sorted(map(str, expected))
        assert not report.plan.failures
        self.model.settle(status, key, self.routed, self.outcomes)

    @invariant()
    def remembers_what_the_model_holds(self) -> None:
        if not hasattr(self, "model"):
            return
        remembered = {
            (place.destination, place.correlation_key): [holder.key for holder in incident.holders]
            for place, incident in self.host._memory._incidents.items()
        }
        assert remembered == self.model.holders


TestStory = Story.TestCase
TestStory.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
