"""For every order of alerts, the host sends what a small model predicts."""

from __future__ import annotations

import threading
from typing import Any

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from recorder import IDEMPOTENT, SILENT, UPDATING, Page, plugins_of, rule_of

from hostspec import Alert, Capabilities, Identity, Operation, Outcome, OutcomeKind
from hostspec.inprocess import Host

KINDS = st.sampled_from(OutcomeKind)
KEYS = ("a", "b", "c")
TEAMS = ("one", "two")


class Provider:
    """The model: which alerts hold which team's incident, as far as the host can know."""

    def __init__(self, can: Capabilities, *, shared: bool, unknown: bool) -> None:
        self.can = can
        self.shared = shared
        self.unknown = unknown
        self.resolved: set[tuple[str, str]] = set()
        self.holders: dict[tuple[str, str], list[str]] = {}
        self.handles: dict[tuple[str, str], int | None] = {}

    def ref(self, team: str, key: str) -> tuple[str, str]:
        return team, "everything" if self.shared else key

    def expected(self, status: str, key: str, teams: list[str]) -> list[tuple[str, str, Any]]:
        """Return the expected messages for a submission: operation, team, handle."""
        routed = [self.ref(team, key) for team in teams]
        held = [ref for ref, holders in self.holders.items() if key in holders]
        sent: list[tuple[str, tuple[str, str]]] = []
        if status == "firing":
            for ref in routed:
                if ref not in self.holders or self.can.idempotent:
                    sent.append(("trigger", ref))
                elif self.can.update:
                    sent.append(("update", ref))
        elif status == "acknowledged":
            sent += [("acknowledge", ref) for ref in held if self.can.acknowledge]
        else:
            alone = [ref for ref in held if self.holders[ref] == [key]]
            sent += [("resolve", ref) for ref in alone if self.can.resolve]
            sent += [("resolve", ref) for ref in routed if self._is_unknown(ref)]
        return [(operation, ref[0], self.handles.get(ref)) for operation, ref in sent]

    def settle(
        self, status: str, key: str, teams: list[str], outcomes: dict[str, tuple[OutcomeKind, int]]
    ) -> None:
        """Record the outcomes by team."""
        routed = [self.ref(team, key) for team in teams]
        held = [ref for ref, holders in self.holders.items() if key in holders]
        if status == "firing":
            for ref in routed:
                kind, handle = outcomes.get(ref[0], (OutcomeKind.DELIVERED, 0))
                if ref in self.holders and not self.can.idempotent:
                    self._hold(ref, key)
                elif self._arrived(kind):
                    self.resolved.discard(ref)
                    self._hold(ref, key)
                    self.handles[ref] = self.handles.get(ref) or handle
        elif status == "resolved":
            for ref in filter(self._is_unknown, routed):
                if outcomes[ref[0]][0] is OutcomeKind.DELIVERED:
                    self.resolved.add(ref)
            for ref in held:
                alone = self.holders[ref] == [key]
                kind, _ = outcomes.get(ref[0], (OutcomeKind.DELIVERED, 0))
                if alone and self.can.resolve and kind is OutcomeKind.DELIVERED:
                    self.resolved.add(ref)
                if not alone or not self.can.resolve or kind is OutcomeKind.DELIVERED:
                    self.holders[ref].remove(key)
                if not self.holders[ref]:
                    del self.holders[ref]
                    self.handles.pop(ref)

    def _is_unknown(self, ref: tuple[str, str]) -> bool:
        return self.unknown and ref not in self.holders and ref not in self.resolved

    def _hold(self, ref: tuple[str, str], key: str) -> None:
        holders = self.holders.setdefault(ref, [])
        if key not in holders:
            holders.append(key)

    def _arrived(self, kind: OutcomeKind) -> bool:
        doubtful = (OutcomeKind.UNREACHABLE, OutcomeKind.FAULTED)
        known = (OutcomeKind.DELIVERED, OutcomeKind.UNCERTAIN)
        return kind in known or (self.can.idempotent and kind in doubtful)


class Story(RuleBasedStateMachine):
    """A host, its model, and the alerts for both."""

    @initialize(
        can=st.sampled_from([IDEMPOTENT, UPDATING, SILENT]),
        shared=st.booleans(),
        unknown=st.booleans(),
    )
    def start(self, can: Capabilities, *, shared: bool, unknown: bool) -> None:
        self.model = Provider(can, shared=shared, unknown=unknown)
        correlate = (lambda _: "everything") if shared else (lambda alert: alert.key)
        self.page = Page(can, correlate=correlate)
        self.page.behaviour["send"] = self.answer
        plugins = plugins_of(self.page)
        self.routed: list[str] = []
        self.host = Host(
            plugins,
            [
                attrs.evolve(
                    rule_of(plugins, team, lambda _, team=team: team in self.routed, teams=[team]),
                    resolve_unknown=unknown,
                )
                for team in TEAMS
            ],
        )
        self.kinds: list[OutcomeKind] = []
        self.count = 0
        self.lock = threading.Lock()
        self.outcomes: dict[str, tuple[OutcomeKind, int]] = {}

    def answer(self, delivery: Any) -> Outcome:
        """Return the outcome of the story; only a trigger's outcome has a handle, a new one."""
        with self.lock:
            kind = self.kinds[len(self.outcomes)]
            self.count += 1
            number = self.count
            self.outcomes[delivery.ref.destination] = kind, number
        trigger = delivery.operation is Operation.TRIGGER
        return Outcome(kind, handle={"id": number} if trigger else None)

    @rule(
        status=st.sampled_from(["firing", "acknowledged", "resolved"]),
        key=st.sampled_from(KEYS),
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
        held = [each for key in KEYS for each in self.host.held_by(Identity("", key))]
        remembered = {
            (each.ref.destination, each.ref.correlation_key): [
                holder.key for holder in each.holders
            ]
            for each in held
        }
        assert remembered == self.model.holders


TestStory = Story.TestCase
TestStory.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
