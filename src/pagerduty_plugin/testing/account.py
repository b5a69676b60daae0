"""A PagerDuty account: its services, incidents, change events and rate limits.

Pure: no network, no threads. The state machine is that of PagerDuty's guide "Send an Alert Event":

* integration key *and* dedup key identify an incident;
* only ``trigger`` opens an incident; an ``acknowledge`` or ``resolve`` that matches no open one
  is discarded, though it gets the usual response;
* a ``trigger`` for an open incident is appended to it without a new notification, and an
  acknowledged incident stays acknowledged;
* a resolved incident never opens again: the next ``trigger`` opens a new one.
"""

from __future__ import annotations

import collections
import datetime as dt
import re
import uuid
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

import attrs

from pagerduty_plugin.testing import responses, rules
from pagerduty_plugin.testing.service_directory import ServiceDirectory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Event: TypeAlias = "Mapping[str, object]"
State: TypeAlias = Literal["triggered", "acknowledged", "resolved"]

RATE_LIMIT: Final = 120
RATE_WINDOW: Final = dt.timedelta(seconds=60)

# matches the integration key even in a malformed event
_KEY_MEMBER: Final = re.compile(r'("routing_key"\s*:\s*")((?:[^"\\]|\\.)*)')


@attrs.frozen(kw_only=True)
class Incident:
    """A snapshot of an incident.

    Attributes:
        number: Its number in the order of opening, from 1.
        service: The name of the service.
        region: The region of the account.
        dedup_key: The dedup key, as sent or generated.
        state: ``triggered``, ``acknowledged`` or ``resolved``.
        summary: The summary of the last trigger, as in PagerDuty.
        severity: The severity of the last trigger.
        opened_at: When the first trigger arrived.
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
        region: The region of the account.
        summary: Its summary.
        received_at: When it arrived.
        event: The event as received but without its integration key.
    """

    service: str
    region: str
    summary: str
    received_at: dt.datetime
    event: Event = attrs.field(repr=False)


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
        rate_limit: Events per integration key in any 60 seconds; 0 for no limit.
        subdomain: The account's subdomain of pagerduty.com.
        clock: Returns the current time with its time zone.
        directory: Its services.
    """

    region: str = "us"
    rate_limit: int = RATE_LIMIT
    subdomain: str = "acme"
    clock: Callable[[], dt.datetime] = utc_now
    incidents: list[Incident] = attrs.field(factory=list, init=False)
    changes: list[Change] = attrs.field(factory=list, init=False)
    directory: ServiceDirectory = attrs.field(factory=ServiceDirectory, init=False, repr=False)
    _unnamed: dict[str, str] = attrs.field(factory=dict, init=False, repr=False)
    # (integration key, dedup key) -> index of the latest incident
    _latest: dict[tuple[str, str], int] = attrs.field(factory=dict, init=False, repr=False)
    _accepted_at: dict[str, collections.deque[dt.datetime]] = attrs.field(
        factory=lambda: collections.defaultdict(collections.deque), init=False, repr=False
    )

    def add_service(self, name: str, key: str | None = None) -> str:
        """Define the service of an integration key; see `FakePagerDuty.add_service`."""
        return self.directory.add_integration(name, key=key).key

    def process_alert(self, body: bytes) -> responses.Response:
        """Process the body of an alert event, and return the response."""
        accepted = self._accept(body, rules.alert_faults)
        if isinstance(accepted, responses.Response):
            return accepted
        key, service, event = accepted
        dedup_key = cast("str", event.get("dedup_key", uuid.uuid4().hex))
        self._apply(key, service, {**event, "dedup_key": dedup_key})
        return responses.alert_accepted(dedup_key)

    def process_change(self, body: bytes) -> responses.Response:
        """Process the body of a change event, and return the response."""
        accepted = self._accept(body, rules.change_faults, service_only=True)
        if isinstance(accepted, responses.Response):
            return accepted
        _, service, event = accepted
        payload = cast("Event", event["payload"])
        self.changes.append(
            Change(
                service=service,
                region=self.region,
                summary=cast("str", payload["summary"]),
                received_at=self.clock(),
                event=event,
            )
        )
        return responses.change_accepted()

    def mask(self, text: str) -> str:
        """Replace every integration key in a text by its last four characters."""
        text = _KEY_MEMBER.sub(lambda match: match[1] + _masked(match[2]), text)
        for key in (*self.directory.keys, *self._unnamed):
            text = text.replace(key, _masked(key))
        return text

    def _accept(
        self,
        body: bytes,
        faults_of: Callable[[Event], tuple[str, ...]],
        *,
        service_only: bool = False,
    ) -> tuple[str, str, Event] | responses.Response:
        """Return key, service and content of an event, or the response that refuses it."""
        try:
            event = rules.read_event(body)
        except rules.UnreadableBodyError:
            return responses.unreadable()
        if faults := faults_of(event):
            return responses.invalid(faults)
        key = cast("str", event.pop("routing_key"))
        service = self._service(key)
        # keys of rulesets and orchestrations start with R and accept no change events
        if service is None or (service_only and key.startswith("R")):
            return responses.unknown_key()
        if self._is_throttled(key):
            return responses.throttled()
        return key, service, event

    def _service(self, key: str) -> str | None:
        if self.directory:
            return self.directory.name_of(key)
        return self._unnamed.setdefault(key, f"service {len(self._unnamed) + 1}")

    def _is_throttled(self, key: str) -> bool:
        """Check the sliding window of a key; count the event unless the window is full."""
        now = self.clock()
        accepted_at = self._accepted_at[key]
        while accepted_at and now - accepted_at[0] >= RATE_WINDOW:
            accepted_at.popleft()
        if self.rate_limit and len(accepted_at) >= self.rate_limit:
            return True
        accepted_at.append(now)
        return False

    def _apply(self, key: str, service: str, event: Event) -> None:
        scope = (key, cast("str", event["dedup_key"]))
        index = self._latest.get(scope)
        if index is not None and self.incidents[index].state != "resolved":
            self.incidents[index] = self._appended(self.incidents[index], event)
        elif event["event_action"] == "trigger":
            self._latest[scope] = len(self.incidents)
            self.incidents.append(self._opened(service, event))

    def _opened(self, service: str, event: Event) -> Incident:
        payload = cast("Mapping[str, str]", event["payload"])
        now = self.clock()
        return Incident(
            number=len(self.incidents) + 1,
            service=service,
            region=self.region,
            dedup_key=cast("str", event["dedup_key"]),
            state="triggered",
            summary=payload["summary"],
            severity=payload["severity"],
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
            case _:
                payload = cast("Mapping[str, str]", event["payload"])
                return attrs.evolve(
                    incident, summary=payload["summary"], severity=payload["severity"]
                )


def _masked(key: str) -> str:
    return f"…{key[-4:]}"
