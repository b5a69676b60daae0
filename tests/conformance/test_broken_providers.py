"""For each check of a provider there is a provider that fails this check alone."""

from __future__ import annotations

import datetime as dt
import http.client
import json
import logging
import math
import random
import re
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import attrs
import pytest
from kit import failures, name_of
from size import WHOLE

from hostspec import (
    Action,
    Alert,
    Capabilities,
    Delivery,
    Destination,
    DurableAction,
    Fault,
    Identity,
    IncidentRef,
    Limit,
    Operation,
    Outcome,
    OutcomeKind,
    Preview,
    Provider,
    Secret,
    SecretUnavailableError,
    SettingsError,
    Severity,
    Status,
    hookimpl,
    setting,
)
from hostspec.connect import InstallError, InstallFlow, InstallProblem
from hostspec.plugins import loading
from hostspec.testing import PROVIDER_CHECKS, Answer, ConformanceError, ProviderCase, support
from hostspec.testing.provider_sending import check_network_faults

OPERATIONS = dict(
    zip(Status, (Operation.TRIGGER, Operation.ACKNOWLEDGE, Operation.RESOLVE), strict=True)
)


@pytest.fixture(autouse=True)
def _nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the search for installed distributions in thousands of loads."""
    monkeypatch.setattr(loading, "distributions", list)
    # a call without a timeout hangs; how soon the kit looks at it proves nothing more
    monkeypatch.setattr(support, "SOCKET_CHECK_AFTER", 1.5)


@attrs.frozen(kw_only=True)
class Room:
    name: str = setting("Name", default="all")


@attrs.frozen(kw_only=True)
class Account:
    url: str = setting("URL", help="Where the service is.")
    key: Secret = setting("Key")
    rooms: tuple[Room, ...] = setting("Rooms", default=())


@attrs.frozen(kw_only=True)
class Paging:
    volume: float = setting("Volume", default=1.0)


class Sound(Provider[Account]):
    name = "sound"
    label = "Sound"
    settings = Account

    def destinations(self, installation):
        return [Destination("all", "Everybody")]


class Page(Action[Paging, Account], DurableAction[Account]):
    """A sound action; each broken one below changes one thing."""

    name = "sound.page"
    label = "Page"
    provider = "sound"
    settings = Paging
    capabilities = Capabilities(acknowledge=True, resolve=True, idempotent=True, coalesce=True)
    timeout: float | None = 1.0

    def plan(self, alert, settings, installation, *, rule=""):
        text = f"{alert.summary[:100]} {alert.key[:100]}"
        return [
            Delivery(
                OPERATIONS[alert.status],
                IncidentRef(self.name, installation.name, "all", self.correlate(alert)),
                alert.identity,
                alert.severity,
                {"text": text},
                rules=(rule,),
            )
        ]

    def correlate(self, alert):
        return json.dumps([alert.scope, alert.key])

    def follow_up(self, incident, alert):
        if alert.status is Status.FIRING:
            return None
        return Delivery(OPERATIONS[alert.status], incident.ref, alert.identity, incident.severity)

    def send(self, delivery, installation, context):
        try:
            key = self.key(installation)
        except SecretUnavailableError:
            return Outcome(OutcomeKind.MISCONFIGURED, "no key")
        if not key.isalnum():
            return self.malformed(key)
        if not re.match(r"http://[^/:]+:\d+", installation.settings.url):
            return self.nowhere()
        try:
            return self.classify(*self.post(delivery, installation.settings.url, key))
        except (OSError, http.client.HTTPException) as error:
            return self.broken(error)

    def key(self, installation):
        return installation.settings.key.reveal()

    def malformed(self, key):
        return Outcome(OutcomeKind.MISCONFIGURED, "the key is malformed")

    def post(self, delivery, url, key):
        there = urlsplit(url)
        connection = http.client.HTTPConnection(there.hostname, there.port, timeout=self.timeout)
        body = json.dumps({"text": delivery.message.get("text"), "is": delivery.operation})
        try:
            connection.request("POST", "/", body.encode(), {"Authorization": key})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def classify(self, status, text):
        match status:
            case 200 if text == "taken":
                return Outcome(OutcomeKind.DELIVERED, handle={"id": "1"})
            case 200:
                return Outcome(OutcomeKind.UNREACHABLE, "another answered")
            case 429:
                return Outcome(OutcomeKind.THROTTLED)
            case 400:
                return Outcome(OutcomeKind.REJECTED, "rejected")
        return Outcome(OutcomeKind.FAULTED, str(status))

    def nowhere(self):
        return Outcome(OutcomeKind.MISCONFIGURED, "no URL")

    def broken(self, error):
        return Outcome(OutcomeKind.UNREACHABLE, type(error).__name__)

    def limits(self, delivery, installation, handle=None):
        return [Limit("sound", 10, 60)]


class Plugin:
    def __init__(self, provider, action):
        self.provider = provider
        self.action = action

    @hookimpl
    def hostspec_providers(self):
        return [self.provider()]

    @hookimpl
    def hostspec_actions(self):
        return [self.action()]


class Case(ProviderCase):
    plugin = Plugin(Sound, Page)
    canary = "canary0123456789"
    answer = Answer(200, b"taken")

    def installation_settings(self, url: str, secret: str) -> Mapping[str, object]:
        return {"url": url, "key": secret, "rooms": [{"name": "all"}]}

    def faults(self):
        # a few, for the sake of time; the sound one meets all
        few = ("refused port", "500", "429")
        return [fault for fault in super().faults() if fault.name in few]


class WholeCase(Case):
    def faults(self):
        return super(Case, self).faults()


def broken(
    base: type[Case] = Case, *, provider: object = Sound, action: object = Page, **members: Any
) -> ProviderCase:
    """Return a case of a broken provider or action."""
    return type("BrokenCase", (base,), {"plugin": Plugin(provider, action), **members})()


CHECKS = {name_of(check): check for check in PROVIDER_CHECKS}


def test_sound_provider_passes_every_check() -> None:
    assert failures(WholeCase(), PROVIDER_CHECKS) == {}


def test_sound_provider_with_probe_and_install_flow_passes() -> None:
    kind = type("Connecting", (Sound,), {"install_flow": lambda _: Connect()})
    case = broken(provider=kind, action=Probing, install_settings={"app": "one"})
    assert failures(case, PROVIDER_CHECKS) == {}


def test_on_missed_may_return_an_acknowledge_too() -> None:
    def change(opening, closing):
        said = attrs.evolve(opening, operation=Operation.ACKNOWLEDGE)
        return [opening, said, closing]

    assert failures(broken(action=missing(change)), PROVIDER_CHECKS) == {}


# --- names and settings


class Shouting(Sound):
    name = "SOUND"


class ShoutingPage(Page):
    name = "SOUND.page"
    provider = "SOUND"


class Dotless(Page):
    name = "page"


@attrs.define(kw_only=True)
class Changeable:
    volume: float = setting("Volume", default=1.0)


@attrs.frozen
class Positional:
    volume: float = setting("Volume", default=1.0)


@attrs.frozen(kw_only=True)
class Bare:
    volume: float = 1.0


@attrs.frozen(kw_only=True)
class Endless:
    volume: float = setting("Volume", default=float("inf"))


class ChangeablePage(Page):
    settings = Changeable


class PositionalPage(Page):
    settings = Positional


class BarePage(Page):
    settings = Bare


class EndlessPage(Page):
    settings = Endless


class Renaming(Sound):
    """Accepts an old name of a setting that is not in the schema."""

    def installation(self, name, raw):
        if isinstance(raw, Mapping) and "address" in raw:
            raw = {"url" if key == "address" else key: value for key, value in raw.items()}
        return super().installation(name, raw)


class Lenient(Sound):
    def installation(self, name, raw):
        if isinstance(raw, Mapping):
            raw = {key: value for key, value in raw.items() if key in ("url", "key", "rooms")}
        return super().installation(name, raw)


class Vague(Sound):
    def installation(self, name, raw):
        try:
            return super().installation(name, raw)
        except SettingsError:
            raise SettingsError([Fault("", "something is wrong")]) from None


class Twins(Sound):
    def destinations(self, installation):
        return [Destination("all", "One"), Destination("all", "Other")]


class Unordered(Sound):
    def destinations(self, installation):
        return {"all": "Everybody"}


class Elsewhere(Sound):
    def destinations(self, installation):
        return [Destination("other", "Other")]


class Stamping(Sound):
    """Changes the URL each time it is read."""

    def installation(self, name, raw):
        if isinstance(raw, Mapping):
            raw = {**raw, "url": f"{raw.get('url')}/"}
        return super().installation(name, raw)


class Careless(Sound):
    def check(self, installation):
        return ()


class Disclosing(Sound):
    def check(self, installation):
        faults = super().check(installation)
        key = "" if faults else installation.settings.key.reveal()
        return faults if key.isalnum() or not key else [Fault("key", f"{key} is no key")]


# --- planning


def planning(change: Any) -> type[Page]:
    """Make an action whose plan is changed."""

    class Planning(Page):
        def plan(self, alert, settings, installation, *, rule=""):
            planned = super().plan(alert, settings, installation, rule=rule)
            return change(alert, planned)

    return Planning


def evolving(**changes: Any) -> type[Page]:
    return planning(lambda _, planned: [attrs.evolve(each, **changes) for each in planned])


def adding_to_message(**members: Any) -> type[Page]:
    return planning(
        lambda _, planned: [
            attrs.evolve(each, message={**each.message, **members}) for each in planned
        ]
    )


def doing(thing: Any) -> type[Page]:
    """Make an action that calls a function while it plans."""

    def change(alert, planned):
        thing(alert)
        return planned

    return planning(change)


def _choke(alert: Alert) -> None:
    if len(alert.key) > 255:
        raise ValueError("too long")


def _adding(addition: Any) -> Any:
    return lambda alert, planned: [*planned, addition] if len(alert.key) > 255 else planned


def _quiet(alert: Alert, planned: Any) -> Any:
    return [] if alert.severity is Severity.DEBUG else planned


def _start_thread(_: Alert) -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()


class Forgetful(Page):
    """Counts its plans, so that no two are equal."""

    calls = 0

    def plan(self, alert, settings, installation, *, rule=""):
        self.calls += 1
        (planned,) = super().plan(alert, settings, installation, rule=rule)
        return [attrs.evolve(planned, notes=(str(self.calls),))]


class OtherSource(Page):
    def plan(self, alert, settings, installation, *, rule=""):
        object.__setattr__(alert, "source", "changed")
        return super().plan(alert, settings, installation, rule=rule)


class Unscoped(Page):
    def correlate(self, alert):
        return alert.key


class Wordy(Page):
    def correlate(self, alert):
        return json.dumps([alert.scope, alert.key, alert.summary])


def following(change: Any) -> type[Page]:
    """Make an action whose follow-up is changed."""

    class Following(Page):
        def follow_up(self, incident, alert):
            return change(incident, alert, super().follow_up(incident, alert))

    return Following


def _dated(incident: Any, alert: Alert, delivery: Any) -> Any:
    dt.datetime.now(dt.UTC)
    return delivery


def _changing(incident: Any, alert: Alert, delivery: Any) -> Any:
    object.__setattr__(incident, "rules", ("changed",))
    return delivery


def _moving(incident: Any, alert: Alert, delivery: Any) -> Any:
    ref = attrs.evolve(incident.ref, destination="elsewhere")
    return delivery and attrs.evolve(delivery, ref=ref)


def _choking(incident: Any, alert: Alert, delivery: Any) -> Any:
    if alert.status is Status.RESOLVED and "later" in alert.key:
        raise KeyError(alert.key)
    return delivery


class Unclosing(Page):
    def follow_up(self, incident, alert):
        if alert.status is Status.RESOLVED:
            return None
        return super().follow_up(incident, alert)


class Undeclared(Page):
    capabilities = Capabilities(resolve=True, idempotent=True)


class Remembering(Page):
    """Follows up only on deliveries of the same process."""

    def __init__(self):
        self.planned = set()

    def plan(self, alert, settings, installation, *, rule=""):
        planned = super().plan(alert, settings, installation, rule=rule)
        self.planned |= {each.ref for each in planned}
        return planned

    def follow_up(self, incident, alert):
        return super().follow_up(incident, alert) if incident.ref in self.planned else None


# --- sending


class Oneway(Page):
    def post(self, delivery, url, key):
        status, text = super().post(delivery, url, key)
        return (400, "") if status == 200 and "text" not in delivery.message else (status, text)


class Stuttering(Page):
    def post(self, delivery, url, key):
        if "conformance-delivers" in str(delivery.message.get("text")):
            super().post(delivery, url, key)
        return super().post(delivery, url, key)


class Single(Page):
    """Opens incidents, and has no follow-ups."""

    capabilities = Capabilities(idempotent=True, coalesce=True)

    def follow_up(self, incident, alert):
        return None


class Raising(Single):
    def broken(self, error):
        raise error


class Exiting(Single):
    def classify(self, status, text):
        if status == 500:
            sys.exit("500")
        return super().classify(status, text)


class Patient(Single):
    timeout = None


class Credulous(Single):
    def nowhere(self):
        return Outcome(OutcomeKind.REJECTED)


class Choking(Single):
    def nowhere(self):
        raise LookupError


class Impatient(Single):
    def classify(self, status, text):
        outcome = super().classify(status, text)
        return attrs.evolve(outcome, kind=OutcomeKind.REJECTED) if status == 429 else outcome


class Speechless(Single):
    def classify(self, status, text):
        return None if status == 500 else super().classify(status, text)


class Dismissive(Page):
    def send(self, delivery, installation, context):
        outcome = super().send(delivery, installation, context)
        if outcome.reason == "no key":
            return Outcome(OutcomeKind.REJECTED)
        return outcome


class Sharing(Page):
    """Keeps the delivery on itself, where another thread's call overwrites it."""

    def __init__(self):
        self.together = threading.Barrier(8)

    def post(self, delivery, url, key):
        self.current = delivery
        if "conformance-thread" in str(delivery.message.get("text")):
            self.together.wait()
        return super().post(self.current, url, key)


class Busy(Page):
    """Takes one call at a time, and rejects concurrent ones."""

    def __init__(self):
        self.together = threading.Barrier(8)
        self.lock = threading.Lock()

    def post(self, delivery, url, key):
        if "conformance-thread" in str(delivery.message.get("text")):
            mine = self.lock.acquire(blocking=False)
            self.together.wait()
            if not mine:
                raise RuntimeError("busy")
        return super().post(delivery, url, key)


class Limitless(Page):
    def limits(self, delivery, installation, handle=None):
        return [Limit("", 0, 0)]


class LimitedByNothing(Page):
    def limits(self, delivery, installation, handle=None):
        return [("sound", 10, 60)]


class LimitlessAfterwards(Page):
    def limits(self, delivery, installation, handle=None):
        return [Limit("", 0, 0)] if delivery.operation is not Operation.TRIGGER else []


class Mispredicting(Page):
    def expected_handle(self, delivery, installation):
        return {"id": "2"}


class LimitedTwice(Page):
    def limits(self, delivery, installation, handle=None):
        return [Limit("sound", 10, 60), Limit("sound", 100, 3600)]


# --- secrets


@attrs.frozen(kw_only=True)
class Careful:
    url: str = setting("URL")


class Keyless(Sound):
    settings = Careful


class KeylessPage(Page):
    def key(self, installation):
        return "none"


@attrs.frozen(kw_only=True)
class Doubled(Account):
    copy: str = setting("Copy", default="")


class Doubling(Sound):
    settings = Doubled


class Quoting(Page):
    def classify(self, status, text):
        outcome = super().classify(status, text)
        return attrs.evolve(outcome, reason=text) if status == 400 else outcome


class Keeping(Page):
    def send(self, delivery, installation, context):
        outcome = super().send(delivery, installation, context)
        key = installation.settings.key
        if outcome.delivered and key.reference is None:
            return attrs.evolve(outcome, handle={"key": key.reveal()})
        return outcome


class Revealing(Page):
    def preview(self, delivery, installation, context):
        return Preview("there", {"key": installation.settings.key.reveal()})


class Showing(Page):
    def preview(self, delivery, installation, context):
        return Preview("there", {"key": installation.settings.key._text})


class Sketching(Page):
    def preview(self, delivery, installation, context):
        return "there"


class Logging(Page):
    def post(self, delivery, url, key):
        logging.getLogger("sound").debug("posting with %s", key)
        return super().post(delivery, url, key)


class Printing(Page):
    def post(self, delivery, url, key):
        sys.stdout.write(f"posting with {key}")
        return super().post(delivery, url, key)


class Complaining(Page):
    def malformed(self, key):
        try:
            int(key)
        except ValueError as error:
            raise RuntimeError("the key is wrong") from error


# --- descriptions, settings_for, probes


def describing(sentence: Any) -> type[Page]:
    """Make an action with this description."""

    class Describing(Page):
        def describe(self, settings, installation):
            return sentence(installation)

    return Describing


def with_settings_for(settings: Any) -> type[Page]:
    """Make an action whose `settings_for` returns these settings."""

    class WithSettingsFor(Page):
        def settings_for(self, destination):
            return settings

    return WithSettingsFor


class Broad(Sound):
    def destinations(self, installation):
        return [Destination("all", "Everybody"), Destination("one", "One")]


class Probing(Page):
    """Probes with a message that changes nothing."""

    timeout = 0.5

    def settings_for(self, destination):
        return Paging()

    def probe(self, destination, installation):
        ref = IncidentRef(self.name, installation.name, destination.id, "probe")
        delivery = Delivery(Operation.RESOLVE, ref, Identity("", "probe"), Severity.INFO)
        return self.send(delivery, installation, None)


def probing(change: Any) -> type[Page]:
    """Make an action whose probe is changed."""

    class Changed(Probing):
        def probe(self, destination, installation):
            return change(installation, super().probe(destination, installation))

    return Changed


def _hopeful(_: Any, outcome: Outcome) -> Outcome:
    return Outcome(OutcomeKind.DELIVERED)


def _strict(_: Any, outcome: Outcome) -> Outcome:
    return Outcome(OutcomeKind.REJECTED, "never") if outcome.delivered else outcome


def _keyless(_: Any, outcome: Outcome) -> Outcome:
    """Needs no key, so that a missing key is not detected."""
    return Outcome(OutcomeKind.DELIVERED) if outcome.reason == "no key" else outcome


def _talkative(installation: Any, outcome: Outcome) -> Outcome:
    if outcome.delivered:
        return attrs.evolve(outcome, reason=installation.settings.key.reveal())
    return outcome


def _noisy(installation: Any, outcome: Outcome) -> Outcome:
    if outcome.delivered:
        logging.getLogger("sound").debug("with %s", installation.settings.key.reveal())
    return outcome


def _fleeing(_: Any, outcome: Outcome) -> Outcome:
    if outcome.kind is OutcomeKind.FAULTED:
        sys.exit("500")
    return outcome


def _vague(_: Any, outcome: Outcome) -> Any:
    return outcome.kind if outcome.kind is OutcomeKind.FAULTED else outcome


# --- follow-ups and missed problems


class Assuming(Page):
    """Reports every failed resolve as delivered."""

    def send(self, delivery, installation, context):
        outcome = super().send(delivery, installation, context)
        if delivery.operation is Operation.RESOLVE and outcome.kind is OutcomeKind.FAULTED:
            return Outcome(OutcomeKind.DELIVERED)
        return outcome


class Dropping(Page):
    """Handles network faults of triggers only."""

    def send(self, delivery, installation, context):
        outcome = super().send(delivery, installation, context)
        if delivery.operation is not Operation.TRIGGER and "Refused" in outcome.reason:
            raise ConnectionRefusedError
        return outcome


def missing(change: Any) -> type[Page]:
    """Make an action with its own deliveries for a missed problem."""

    class Missing(Page):
        def on_missed(self, opening, closing):
            return change(opening, closing)

    return Missing


def _elsewhere(opening: Delivery, closing: Delivery) -> list[Delivery]:
    return [attrs.evolve(opening, alert=Identity("", "another")), closing]


# --- connecting


@attrs.frozen(kw_only=True)
class ConnectSettings:
    app: str = setting("App")


class Connect(InstallFlow[ConnectSettings, Account]):
    """A sound install flow; each broken one below changes one thing."""

    provider = "sound"
    settings = ConnectSettings

    def address(self, redirect_url, settings):
        return f"https://sound.example/connect?{urlencode({'back': redirect_url})}"

    def connect(self, parameters, settings, installations):
        if "key" not in parameters:
            raise InstallError(InstallProblem.MISSING_ANSWER, "there is no key")
        raise AssertionError("no check passes one")


class Homeless(Connect):
    def address(self, redirect_url, settings):
        return "https://sound.example/connect"


class Pageless(Connect):
    def address(self, redirect_url, settings):
        return f"sound:connect?{urlencode({'back': redirect_url})}"


class Hurried(Connect):
    def address(self, redirect_url, settings):
        return f"{super().address(redirect_url, settings)}&at={time.time()}"


class Hasty(Connect):
    def connect(self, parameters, settings, installations):
        return parameters["key"]


class Trusting(Connect):
    def finish(self, parameters, pending, *, installations=(), now=None):
        pending = pending and attrs.evolve(pending, used=False)
        return super().finish(parameters, pending, installations=installations, now=now)


class Gullible(Connect):
    """Connects at every callback."""

    def finish(self, parameters, pending, *, installations=(), now=None):
        return None


class Altering(Connect):
    def begin(self, *arguments, **named):
        begun = super().begin(*arguments, **named)
        pending = attrs.evolve(begun.pending, settings={"app": math.nan})
        return attrs.evolve(begun, pending=pending)


class Stranger(Connect):
    provider = "another"


def connecting(flow: Any, **settings: object) -> ProviderCase:
    """Make a case of a provider with an install flow."""
    kind = type("Connecting", (Sound,), {"install_flow": lambda _: flow})
    return broken(provider=kind, install_settings=settings)


BROKEN = [
    ("descriptions", broken(action=describing(lambda _: " ")), "return a sentence"),
    ("descriptions", broken(action=describing(lambda _: "one\ntwo")), "on one line"),
    ("descriptions", broken(action=describing(lambda there: there.name)), "raised AttributeError"),
    ("descriptions", broken(action=describing(lambda _: f"at {time.time()}")), "time.time"),
    ("settings_for", broken(action=with_settings_for({"volume": 1.0})), "does not accept"),
    (
        "settings_for",
        broken(provider=Broad, action=with_settings_for(Paging())),
        "settings_for('one') returned settings that send to ['all']",
    ),
    ("install_flow", connecting("by hand"), "no InstallFlow of this provider"),
    ("install_flow", connecting(Stranger(), app="one"), "no InstallFlow of this provider"),
    ("install_flow", connecting(Connect()), "set `install_settings`"),
    ("install_flow", connecting(Homeless(), app="one"), "lacks the redirect URL"),
    ("install_flow", connecting(Pageless(), app="one"), "is not the URL of a page"),
    ("install_flow", connecting(Hurried(), app="one"), "time.time"),
    ("install_flow", connecting(Altering(), app="one"), "the pending install is not JSON"),
    (
        "install_flow",
        connecting(Trusting(), app="one"),
        "ends as missing_answer where reused_state",
    ),
    ("install_flow", connecting(Gullible(), app="one"), "ends as connected where wrong_state"),
    ("install_flow", connecting(Hasty(), app="one"), "ends as KeyError"),
    ("on_missed", broken(action=missing(lambda opening, _: [opening])), "does not close"),
    ("on_missed", broken(action=missing(lambda _, closing: closing)), "something else than a list"),
    ("on_missed", broken(action=missing(_elsewhere)), "use the opening's alert"),
    ("on_missed", broken(action=missing(lambda *_: {}["never"])), "on_missed() raised KeyError"),
    ("follow_up_faults", broken(action=Assuming), "500, resolve: the outcome is delivered"),
    ("follow_up_faults", broken(action=Dropping), "raised ConnectionRefusedError"),
    ("probe", broken(action=probing(_strict)), "ends as rejected (never)"),
    ("probe_is_honest", broken(action=probing(_keyless)), "get through: a missing secret"),
    ("probe_is_honest", broken(action=probing(_hopeful)), "get through: refused port, 500, 429"),
    ("probe_is_honest", broken(action=probing(_fleeing)), "raised SystemExit"),
    ("probe_is_honest", broken(action=probing(_vague)), "returned a OutcomeKind"),
    ("probes_hold_no_secret", broken(action=probing(_talkative)), "outcome of a probe shows"),
    ("probes_hold_no_secret", broken(action=probing(_noisy)), "log or output of a probe"),
    (
        "descriptions_hold_no_secret",
        broken(action=describing(lambda there: f"With {there and there.settings.key._text}")),
        "description of an action shows",
    ),
    ("names", broken(provider=Shouting, action=ShoutingPage), "not in lower-case"),
    ("names", broken(action=Dotless), "sound.something"),
    ("settings_classes", broken(action=ChangeablePage), "can be changed"),
    ("settings_classes", broken(action=PositionalPage), "by position"),
    ("settings_classes", broken(action=BarePage), "no label"),
    ("schemas", broken(action=EndlessPage), "is not JSON"),
    (
        "schemas",
        broken(
            provider=Renaming,
            installation_settings=lambda _, url, secret: {"address": url, "key": secret},
        ),
        "'address' was unexpected",
    ),
    (
        "unknown_keys",
        broken(
            provider=Lenient,
            installation_settings=lambda _, url, secret: {"url": url, "key": secret},
        ),
        "would go unnoticed",
    ),
    ("unknown_keys", broken(provider=Vague), "without its path"),
    ("destinations", broken(provider=Twins), "ids must be unique"),
    ("destinations", broken(provider=Unordered), "list of Destination"),
    ("destinations", broken(provider=Elsewhere), "destinations() does not return"),
    ("every_alert_is_planned", broken(action=doing(_choke)), "plan() raised ValueError"),
    ("every_alert_is_planned", broken(action=planning(_adding("text"))), "returned a str"),
    ("every_alert_is_planned", broken(action=planning(_quiet)), "triggers nothing"),
    (
        "every_alert_is_planned",
        broken(action=evolving(alert=Identity("", "another"))),
        "take the names and the alert's identity",
    ),
    ("every_alert_is_planned", broken(action=evolving(rules=())), "without the rule's name"),
    ("plan_is_pure", broken(action=doing(lambda _: time.time())), "time.time"),
    ("plan_is_pure", broken(action=doing(lambda _: random.random())), "Random.random"),
    ("plan_is_pure", broken(action=doing(lambda _: Path("/nowhere").exists())), "stat"),
    ("plan_is_pure", broken(action=doing(_start_thread)), "start_"),
    ("plan_is_pure", broken(action=Forgetful), "two results"),
    ("plan_is_pure", broken(action=OtherSource), "changed the alert"),
    ("follow_up_is_pure", broken(action=following(_dated)), "datetime.now"),
    ("follow_up_is_pure", broken(action=following(_changing)), "changed the incident"),
    ("correlation", broken(action=Unscoped), "share one incident"),
    ("correlation", broken(action=Wordy), "in other words"),
    ("follow_ups", broken(action=Unclosing), "capabilities declare resolve"),
    ("follow_ups", broken(action=Undeclared), "declare acknowledge"),
    ("follow_ups", broken(action=following(_moving)), "use incident.ref"),
    ("follow_ups", broken(action=following(_choking)), "follow_up() raised KeyError"),
    ("follow_ups_after_restart", broken(action=Remembering), "after a restart"),
    ("json_round_trips", broken(provider=Stamping), "the installation differs"),
    (
        "json_round_trips",
        broken(action=adding_to_message(nan=float("nan"))),
        "the delivery is not JSON",
    ),
    (
        "json_round_trips",
        broken(action=adding_to_message(parts={1: "one"})),
        "the delivery differs",
    ),
    ("delivers", broken(action=Oneway), "ends as rejected"),
    ("delivers", broken(action=Stuttering), "arrived 2 times"),
    ("network_faults", broken(action=Raising), "refused port: sound.page.send raised Conn"),
    ("network_faults", broken(action=Exiting), "500: sound.page.send raised SystemExit"),
    ("network_faults", broken(WholeCase, action=Patient), "a socket without a timeout; set one"),
    ("addresses", broken(action=Credulous), "nonsense: the outcome is rejected, right is misconf"),
    ("addresses", broken(action=Choking), "nonsense: sound.page.send raised LookupError"),
    (
        "network_faults",
        broken(action=Impatient),
        "429: the outcome is rejected, right is throttled",
    ),
    ("network_faults", broken(action=Speechless), "500: sound.page.send returned a NoneType"),
    ("network_faults", broken(expected={"eclipse": ()}), "unknown faults: ['eclipse']"),
    ("missing_secret", broken(provider=Careless), "check() finds nothing wrong"),
    ("missing_secret", broken(action=Dismissive), "send() ends as rejected"),
    ("threads", broken(action=Sharing), "arrived "),
    ("threads", broken(action=Busy), "raised RuntimeError"),
    ("expected_handle", broken(action=Mispredicting), "return the handle of the first send"),
    ("limits", broken(action=Limitless), "name the budget"),
    ("limits", broken(action=LimitedByNothing), "is not a valid Limit"),
    ("limits", broken(action=LimitlessAfterwards), "name the budget"),
    ("limits", broken(action=LimitedTwice), "two limits need two names"),
    ("canary", broken(canary="zyxwv98765", secret=lambda *_: "0zyxwv987650"), "12 characters"),
    ("canary", broken(canary="", secret=lambda *_: "key"), "no canary in it"),
    (
        "canary",
        broken(
            provider=Keyless,
            action=KeylessPage,
            installation_settings=lambda _, url, secret: {"url": url},
        ),
        "have no Secret",
    ),
    (
        "values_hold_no_secret",
        broken(
            provider=Doubling,
            installation_settings=lambda _, url, secret: {
                "url": url,
                "key": secret,
                "copy": secret,
            },
        ),
        "the repr of the installation shows",
    ),
    ("outcomes_hold_no_secret", broken(action=Quoting), "the reason of an outcome"),
    ("outcomes_hold_no_secret", broken(action=Keeping), "the handle of an outcome"),
    ("previews_hold_no_secret", broken(action=Revealing), "preview() raised"),
    ("previews_hold_no_secret", broken(action=Showing), "a preview shows"),
    ("previews_hold_no_secret", broken(action=Sketching), "returned a str"),
    ("logs_hold_no_secret", broken(action=Logging), "the DEBUG log or output shows"),
    ("logs_hold_no_secret", broken(action=Printing), "the DEBUG log or output shows"),
    ("exceptions_hold_no_secret", broken(provider=Disclosing), "shows the secret"),
    ("exceptions_hold_no_secret", broken(action=Complaining), "shows the secret"),
]


FIRST = tuple({check: case for check, case, _ in reversed(BROKEN)}.values())
"""Of each check the first provider that it refuses."""


@pytest.mark.sized
@pytest.mark.parametrize(("check", "case", "words"), BROKEN)
def test_broken_provider_fails_its_check(check: str, case: ProviderCase, words: str) -> None:
    """`make proof` runs the other checks on every provider.

    `make test` does on one for each check, and on all whose secret cannot be looked for.
    """
    every = WHOLE or any(case is first for first in FIRST) or check == "canary"
    failed = failures(case, PROVIDER_CHECKS if every else [CHECKS[check]])
    assert list(failed) == [check], failed
    assert words in failed[check]


def test_every_check_has_a_broken_provider() -> None:
    assert {check for check, _, _ in BROKEN} == set(CHECKS)


def test_every_failure_of_a_provider_that_never_plans_is_a_sentence() -> None:
    def refuse(alert):
        raise OSError("never")

    failed = failures(broken(action=doing(refuse)), PROVIDER_CHECKS)
    assert "sound.page.plan raised OSError for a firing alert" in failed["delivers"]


class Sleeping(Single):
    def classify(self, status, text):
        threading.Event().wait(60)


def test_hanging_attempt_is_reported() -> None:
    case = broken(action=Sleeping, time_limit=0.1)
    with pytest.raises(ConformanceError, match=r"had not returned after 0\.1 s; give up in time"):
        check_network_faults(case)
