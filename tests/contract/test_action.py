"""The defaults of actions and providers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from hostspec import (
    Action,
    Alert,
    Capabilities,
    Delivery,
    Destination,
    Fault,
    Identity,
    Incident,
    IncidentRef,
    IncidentState,
    Installation,
    Operation,
    Outcome,
    OutcomeKind,
    Preview,
    Provider,
    Secret,
    SendContext,
    SettingsError,
    Severity,
    setting,
)
from hostspec.action import as_durable


@attrs.frozen(kw_only=True)
class Account:
    key: Secret = setting("Key")
    other: Secret | None = setting("Other", default=None)


class Bare(Action[None, Account]):
    name = "bare.say"
    label = "Say"
    provider = "bare"
    settings = type(None)
    capabilities = Capabilities()

    def plan(
        self, alert: Alert, settings: None, installation: Installation[Account], *, rule: str = ""
    ) -> Sequence[Delivery]:
        return ()

    def send(
        self, delivery: Delivery, installation: Installation[Account], context: SendContext
    ) -> Outcome:
        return Outcome(OutcomeKind.DELIVERED)


class BareProvider(Provider[Account]):
    name = "bare"
    label = "Bare"
    settings = Account

    def destinations(self, installation: Installation[Account]) -> Sequence[Destination]:
        return ()


PLACE = IncidentRef("bare.say", "acme", "all", "k")
OPENING = Delivery(Operation.TRIGGER, PLACE, Identity("", "k"), Severity.ERROR, {"a": [1]})
CLOSING = Delivery(Operation.RESOLVE, PLACE, Identity("", "k"), Severity.ERROR)
INSTALLATION = Installation("bare", "acme", Account(key=Secret("env:BARE_KEY")))


def test_default_action_has_no_capabilities() -> None:
    assert not any(attrs.astuple(Capabilities()))
    incident = Incident(PLACE, IncidentState.TRIGGERED, Severity.ERROR)
    assert Bare().follow_up(incident, Alert("k", status="resolved")) is None


def test_default_action_has_no_faults_and_no_limits() -> None:
    assert Bare().check(None, INSTALLATION) == ()
    assert as_durable(Bare()).limits(OPENING, INSTALLATION) == ()


def test_missed_problem_is_sent_whole_by_default() -> None:
    assert as_durable(Bare()).on_missed(OPENING, CLOSING) == (OPENING, CLOSING)


def test_durable_methods_need_their_base_class() -> None:
    with pytest.raises(TypeError, match=r"has limits\(\): inherit from hostspec.DurableAction"):
        type("Limited", (Bare,), {"limits": lambda *_: ()})


def test_default_preview_shows_destination_and_message() -> None:
    shown = Bare().preview(OPENING, INSTALLATION, SendContext())
    assert shown == Preview("all", {"a": (1,)})


def test_provider_structures_its_settings() -> None:
    assert BareProvider().installation("acme", {"key": "env:BARE_KEY"}) == INSTALLATION
    with pytest.raises(SettingsError):
        BareProvider().installation("acme", {})
    assert BareProvider().demo() is None


def test_check_reports_every_unreadable_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    raw = {"key": "env:BARE_KEY", "other": f"file:{file}"}
    installation = BareProvider().installation("acme", raw)
    monkeypatch.delenv("BARE_KEY", raising=False)
    assert BareProvider().check(installation) == [
        Fault("key", "the environment variable BARE_KEY is not set"),
        Fault("other", f"the file {file} cannot be read: No such file or directory"),
    ]
    monkeypatch.setenv("BARE_KEY", "x")
    file.write_text("y\n")
    assert BareProvider().check(installation) == []


@pytest.mark.parametrize(
    ("kind", "may"),
    [
        (OutcomeKind.DELIVERED, True),
        (OutcomeKind.THROTTLED, False),
        (OutcomeKind.UNREACHABLE, True),
        (OutcomeKind.FAULTED, True),
        (OutcomeKind.MISCONFIGURED, False),
        (OutcomeKind.REJECTED, False),
        (OutcomeKind.UNCERTAIN, True),
    ],
)
def test_outcome_kinds_that_may_have_arrived(kind: OutcomeKind, *, may: bool) -> None:
    assert kind.may_have_arrived is may
    assert Outcome(kind).delivered is (kind is OutcomeKind.DELIVERED)
    assert len(OutcomeKind) == 7


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(30, 30.0), (0.5, 0.5), ("30", 30.0), (None, None), ("soon", None), ([30], None)],
)
def test_retry_after_becomes_a_number_or_none(given: Any, seconds: float | None) -> None:
    assert Outcome(OutcomeKind.THROTTLED, retry_after=given).retry_after == seconds
