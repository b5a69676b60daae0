"""A PagerDuty account: its services, incidents, change events and rate limit. Pure.

The state machine is that of PagerDuty's guide "Send an Alert Event":

* integration key *and* dedup key identify an incident;
* only ``trigger`` opens an incident; an ``acknowledge`` or ``resolve`` that matches no open one
  is discarded, though it gets the usual response;
* a ``trigger`` for an open incident is appended to it without a new notification, and an
  acknowledged incident stays acknowledged;
* a resolved incident never opens again: the next ``trigger`` opens a new one.

A service may have any number of integrations. Their types are those of PagerDuty's REST API
schema; the Events API v2 accepts the keys of Events API v2 integrations only.
"""

from __future__ import annotations

import collections
import datetime as dt
import hashlib
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeAlias, get_args

import attrs

from pagerduty_plugin.testing import responses, rules

Event: TypeAlias = "Mapping[str, Any]"
State: TypeAlias = Literal["triggered", "acknowledged", "resolved"]
Shown: TypeAlias = Literal["everywhere", "alone", "nowhere"]
Status: TypeAlias = Literal["active", "warning", "critical", "maintenance", "disabled"]

RATE_LIMIT: Final = 120
RATE_WINDOW: Final = dt.timedelta(seconds=60)

EVENTS_API_V2: Final = "events_api_v2_inbound_integration"
E_MAIL: Final = "generic_email_inbound_integration"
TYPES: Final = (
    "aws_cloudwatch_inbound_integration",
    "cloudkick_inbound_integration",
    "event_transformer_api_inbound_integration",
    EVENTS_API_V2,
    E_MAIL,
    "generic_events_api_inbound_integration",
    "keynote_inbound_integration",
    "nagios_inbound_integration",
    "pingdom_inbound_integration",
    "sql_monitor_inbound_integration",
)
_NAMES: Final = {
    EVENTS_API_V2: "Events API V2",
    E_MAIL: "Email",
    "generic_events_api_inbound_integration": "Events API V1",
}

# matches the integration key even in a malformed event
_KEY_MEMBER: Final = re.compile(r'("routing_key"\s*:\s*")((?:[^"\\]|\\.)*)')


@attrs.frozen(kw_only=True)
class Integration:
    """One integration of a service.

    Attributes:
        type: One of the types of PagerDuty's REST API.
        key: Its integration key; empty for an e-mail integration.
        vendor: The id of its vendor; empty for none.
        key_shown: Where the REST API shows its key: ``everywhere``; ``alone``, in a request for
            this integration only; or ``nowhere``. PagerDuty's schema does not guarantee a key.
    """

    id: str
    type: str
    name: str
    key: str = attrs.field(repr=False)
    vendor: str = ""
    key_shown: Shown = "everywhere"


@attrs.frozen(kw_only=True)
class Service:
    """A snapshot of a service.

    Attributes:
        id: Its id, derived from the name.
        status: As in PagerDuty's REST API.
        integrations: In the order of addition.
    """

    id: str
    name: str
    status: Status = "active"
    integrations: tuple[Integration, ...] = ()


@attrs.frozen(kw_only=True)
class Incident:
    """A snapshot of an incident.

    Attributes:
        number: Its number in the order of opening, from 1.
        service: The name of the service.
        dedup_key: The dedup key, as sent or generated.
        state: ``triggered``, ``acknowledged`` or ``resolved``.
        summary: The summary of the last trigger, as in PagerDuty.
        severity: The severity of the last trigger.
        updated_at: When the last event arrived.
        notifications: The number of notifications.
        log: Its events in order, as received but without their integration key.
    """

    number: int
    service: str
    region: str
    dedup_key: str
    state: State
    summary: str
    severity: str
    opened_at: dt.datetime
    updated_at: dt.datetime
    notifications: int
    log: tuple[Event, ...] = attrs.field(repr=False)

    @property
    def events(self) -> int:
        """The number of its events."""
        return len(self.log)


@attrs.frozen(kw_only=True)
class Change:
    """An accepted change event.

    Attributes:
        service: The name of the service.
        event: The event as received but without its integration key.
    """

    service: str
    region: str
    summary: str
    received_at: dt.datetime
    event: Event = attrs.field(repr=False)


@attrs.define(eq=False)
class RateWindow:
    """Counts the accepted events of each key in any 60 seconds; a limit of 0 means no limit."""

    limit: int
    _times: dict[str, collections.deque[dt.datetime]] = attrs.field(
        factory=lambda: collections.defaultdict(collections.deque), init=False, repr=False
    )

    def accept(self, key: str, now: dt.datetime) -> bool:
        """Count one more for a key, unless its window is full."""
        times = self._times[key]
        while times and now - times[0] >= RATE_WINDOW:
            times.popleft()
        if self.limit and len(times) >= self.limit:
            return False
        times.append(now)
        return True

    def remaining(self, key: str) -> int:
        """Return how many more are accepted now."""
        return self.limit - len(self._times[key])

    def reset_at(self, key: str) -> dt.datetime:
        """Return when the oldest one leaves the window."""
        return self._times[key][0] + RATE_WINDOW


def utc_now() -> dt.datetime:
    """Return the current time in UTC."""
    return dt.datetime.now(dt.UTC)


@attrs.define(kw_only=True, eq=False)
class Account:
    """One account in one region; not safe for several threads at once.

    While no service is defined, every well-formed integration key is accepted; its service is
    called ``service 1``, ``service 2``, … in the order of arrival.

    Attributes:
        region: ``us`` or ``eu``; a key of one region is unknown in the other.
        window: Of events, per integration key.
        subdomain: The account's subdomain of pagerduty.com.
        clock: Returns the current time with its time zone.
        services: By name, in the order of addition.
    """

    region: str = "us"
    window: RateWindow = attrs.field(factory=lambda: RateWindow(RATE_LIMIT))
    subdomain: str = "acme"
    clock: Callable[[], dt.datetime] = utc_now
    incidents: list[Incident] = attrs.field(factory=list, init=False)
    changes: list[Change] = attrs.field(factory=list, init=False)
    services: dict[str, Service] = attrs.field(factory=dict, init=False, repr=False)
    # integration key -> name of the service, and whether the Events API v2 accepts the key
    _keys: dict[str, tuple[str, bool]] = attrs.field(factory=dict, init=False, repr=False)
    _unnamed: dict[str, str] = attrs.field(factory=dict, init=False, repr=False)
    # (integration key, dedup key) -> index of the latest incident
    _latest: dict[tuple[str, str], int] = attrs.field(factory=dict, init=False, repr=False)

    def create_service(self, name: str, status: Status = "active") -> Service:
        """Create a service; see `FakePagerDuty.create_service`."""
        if not name.strip():
            msg = "a service needs a name"
            raise ValueError(msg)
        if not name.isprintable():
            msg = f"the name of the service {name!r} has an unprintable character"
            raise ValueError(msg)
        _check("status", status, get_args(Status))
        service = self.services.get(name) or Service(id=identifier(name), name=name)
        self.services[name] = attrs.evolve(service, status=status)
        return self.services[name]

    def add_integration(  # noqa: PLR0913 - each has a default and a name
        self,
        service: str,
        type: str = EVENTS_API_V2,  # noqa: A002 - PagerDuty's word
        *,
        name: str = "",
        key: str | None = None,
        vendor: str = "",
        key_shown: Shown = "everywhere",
    ) -> Integration:
        """Add an integration; see `FakePagerDuty.add_integration`."""
        _check("type", type, TYPES)
        _check("key_shown", key_shown, get_args(Shown))
        if key is None:
            key = "" if type == E_MAIL else uuid.uuid4().hex
        if key and rules.routing_key_faults(key):
            msg = f"the integration key of service {service!r} is not 32 letters and digits"
            raise ValueError(msg)
        if key in self._keys:
            other = self._keys[key][0]
            msg = f"the integration key of service {service!r} already belongs to {other!r}"
            raise ValueError(msg)
        owner = self.services.get(service) or self.create_service(service)
        integration = Integration(
            id=identifier(f"{owner.id} {len(owner.integrations)}"),
            type=type,
            name=name or _NAMES.get(type, type),
            key=key,
            vendor=vendor,
            key_shown=key_shown,
        )
        integrations = (*owner.integrations, integration)
        self.services[service] = attrs.evolve(owner, integrations=integrations)
        if key:
            self._keys[key] = service, type == EVENTS_API_V2
        return integration

    def latest_key(self, name: str) -> str | None:
        """Return the newest Events API v2 key of a service, or None."""
        integrations = reversed(self.services[name].integrations)
        return next((each.key for each in integrations if each.type == EVENTS_API_V2), None)

    def process_alert(self, body: bytes) -> responses.Response:
        """Process the body of an alert event, and return the response."""
        accepted = self._accept(body, rules.alert_faults)
        if isinstance(accepted, responses.Response):
            return accepted
        key, service, event = accepted
        event.setdefault("dedup_key", uuid.uuid4().hex)
        self._apply(key, service, event)
        return responses.accepted("Event processed", dedup_key=event["dedup_key"])

    def process_change(self, body: bytes) -> responses.Response:
        """Process the body of a change event, and return the response."""
        accepted = self._accept(body, rules.change_faults, service_only=True)
        if isinstance(accepted, responses.Response):
            return accepted
        _, service, event = accepted
        change = Change(
            service=service,
            region=self.region,
            summary=event["payload"]["summary"],
            received_at=self.clock(),
            event=event,
        )
        self.changes.append(change)
        return responses.accepted("Change event processed")

    def mask(self, text: str) -> str:
        """Replace every integration key in a text by its last four characters."""
        text = _KEY_MEMBER.sub(lambda match: match[1] + _masked(match[2]), text)
        for key in (*self._keys, *self._unnamed):
            text = text.replace(key, _masked(key))
        return text

    def _accept(
        self,
        body: bytes,
        faults_of: Callable[[Event], tuple[str, ...]],
        *,
        service_only: bool = False,
    ) -> tuple[str, str, dict[str, Any]] | responses.Response:
        """Return key, service and content of an event, or the response that refuses it."""
        try:
            event = rules.read_event(body)
        except rules.UnreadableBodyError:
            return responses.UNREADABLE
        if faults := faults_of(event):
            return responses.invalid(faults)
        key = event.pop("routing_key")
        service = self._service(key)
        # keys of rulesets and orchestrations start with R and accept no change events
        if service is None or (service_only and key.startswith("R")):
            return responses.UNKNOWN_KEY
        if not self.window.accept(key, self.clock()):
            return responses.throttled()
        return key, service, event

    def _service(self, key: str) -> str | None:
        if not self.services:
            return self._unnamed.setdefault(key, f"service {len(self._unnamed) + 1}")
        service, takes_events = self._keys.get(key, (None, False))
        return service if takes_events else None

    def _apply(self, key: str, service: str, event: Event) -> None:
        scope = (key, event["dedup_key"])
        index = self._latest.get(scope)
        if index is not None and self.incidents[index].state != "resolved":
            self.incidents[index] = self._appended(self.incidents[index], event)
        elif event["event_action"] == "trigger":
            self._latest[scope] = len(self.incidents)
            self.incidents.append(self._opened(service, event))

    def _opened(self, service: str, event: Event) -> Incident:
        now = self.clock()
        return Incident(
            number=len(self.incidents) + 1,
            service=service,
            region=self.region,
            dedup_key=event["dedup_key"],
            state="triggered",
            summary=event["payload"]["summary"],
            severity=event["payload"]["severity"],
            opened_at=now,
            updated_at=now,
            notifications=1,
            log=(event,),
        )

    def _appended(self, incident: Incident, event: Event) -> Incident:
        incident = attrs.evolve(incident, updated_at=self.clock(), log=(*incident.log, event))
        match event["event_action"]:
            case "acknowledge":
                return attrs.evolve(incident, state="acknowledged")
            case "resolve":
                return attrs.evolve(incident, state="resolved")
        payload = event["payload"]
        return attrs.evolve(incident, summary=payload["summary"], severity=payload["severity"])


def identifier(text: str) -> str:
    """Return an id in PagerDuty's form, derived from the text."""
    return f"P{hashlib.sha256(text.encode()).hexdigest()[:13].upper()}"


def _masked(key: str) -> str:
    return f"…{key[-4:]}"


def _check(what: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        msg = f"unknown {what} {given!r}; PagerDuty has {', '.join(known)}"
        raise ValueError(msg)
