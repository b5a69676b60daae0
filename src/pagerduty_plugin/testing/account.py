"""A PagerDuty account: its services, incidents, change events and rate limits.

Pure: it knows request bodies and a clock, no network and no threads. The state machine is that of
PagerDuty's guide "Send an Alert Event":

* incidents are told apart by integration key *and* dedup key;
* only ``trigger`` opens an incident; an ``acknowledge`` or ``resolve`` that matches no open one
  is dropped, though it is answered like any other;
* ``trigger`` on an open incident is appended to it and notifies nobody again, and an acknowledged
  incident stays acknowledged;
* a resolved incident never opens again: the next ``trigger`` opens a new one.
"""

from __future__ import annotations

import collections
import datetime as dt
import re
import uuid
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

import attrs

from pagerduty_plugin.testing import answers, rules
from pagerduty_plugin.testing.service_directory import ServiceDirectory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Event: TypeAlias = "Mapping[str, object]"
State: TypeAlias = Literal["triggered", "acknowledged", "resolved"]

RATE_LIMIT: Final = 120
RATE_WINDOW: Final = dt.timedelta(seconds=60)

# The integration key in any text that holds an event, however broken the rest of it is.
_KEY_MEMBER: Final = re.compile(r'("routing_key"\s*:\s*")((?:[^"\\]|\\.)*)')


@attrs.frozen(kw_only=True)
class Incident:
    """One incident as the account shows it at one moment.

    Attributes:
        number: Counts up from 1 in the order in which the incidents opened.
        service: The name of the service.
        region: The region of the account.
        dedup_key: The dedup key as sent, or as generated.
        state: ``triggered``, ``acknowledged`` or ``resolved``.
        summary: The summary of the last trigger; PagerDuty shows the last, too.
        severity: The severity of the last trigger.
        opened_at: When the first trigger was taken.
        updated_at: When the last event was taken.
        notifications: How often somebody was notified.
        log: The events it took, in order, as received but without their integration key.
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
        """How many events it took."""
        return len(self.log)


@attrs.frozen(kw_only=True)
class Change:
    """One change event as taken.

    Attributes:
        service: The name of the service.
        region: The region of the account.
        summary: Its summary.
        received_at: When it was taken.
        event: The event as received but without its integration key.
    """

    service: str
    region: str
    summary: str
    received_at: dt.datetime
    event: Event = attrs.field(repr=False)


def utc_now() -> dt.datetime:
    """Tell the time in UTC."""
    return dt.datetime.now(dt.UTC)


@attrs.define(kw_only=True, eq=False)
class Account:
    """One account in one region; not safe for several threads at once.

    Until a service is named, every well-formed integration key is taken and its service is called
    ``service 1``, ``service 2``, … in the order in which the keys appear.

    Attributes:
        region: ``us`` or ``eu``; a key of one region is unknown in the other.
        rate_limit: Events that each integration key may send in any 60 seconds; 0 is no limit.
        subdomain: The part of the account's web address that is its own.
        clock: Tells the time, with its time zone.
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
    # Where the latest incident of (integration key, dedup key) stands in `incidents`.
    _latest: dict[tuple[str, str], int] = attrs.field(factory=dict, init=False, repr=False)
    _taken_at: dict[str, collections.deque[dt.datetime]] = attrs.field(
        factory=lambda: collections.defaultdict(collections.deque), init=False, repr=False
    )

    def add_service(self, name: str, key: str | None = None) -> str:
        """Name the service of an integration key; from now on unnamed keys are unknown.

        Args:
            name: The service's name; a name given again adds another integration to it.
            key: The integration key; None makes one.

        Returns:
            The integration key.

        Raises:
            ValueError: the name cannot be, or the key is malformed or already has a service.
        """
        return self.directory.add_integration(name, key=key).key

    def take_alert(self, body: bytes) -> answers.Answer:
        """Take the body of one alert event and answer it."""
        taken = self._take(body, rules.alert_faults)
        if isinstance(taken, answers.Answer):
            return taken
        key, service, event = taken
        dedup_key = cast("str", event.get("dedup_key", uuid.uuid4().hex))
        self._apply(key, service, {**event, "dedup_key": dedup_key})
        return answers.alert_accepted(dedup_key)

    def take_change(self, body: bytes) -> answers.Answer:
        """Take the body of one change event and answer it."""
        taken = self._take(body, rules.change_faults, service_only=True)
        if isinstance(taken, answers.Answer):
            return taken
        _, service, event = taken
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
        return answers.change_accepted()

    def mask(self, text: str) -> str:
        """Cut every integration key in a text down to its last four characters."""
        text = _KEY_MEMBER.sub(lambda match: match[1] + _masked(match[2]), text)
        for key in (*self.directory.keys, *self._unnamed):
            text = text.replace(key, _masked(key))
        return text

    def _take(
        self,
        body: bytes,
        faults_of: Callable[[Event], tuple[str, ...]],
        *,
        service_only: bool = False,
    ) -> tuple[str, str, Event] | answers.Answer:
        """Judge an event: its key, service and content without the key, or why it is refused."""
        try:
            event = rules.read_event(body)
        except rules.UnreadableBodyError:
            return answers.unreadable()
        if faults := faults_of(event):
            return answers.invalid(faults)
        key = cast("str", event.pop("routing_key"))
        service = self._service(key)
        # Keys of rulesets and orchestrations start with R and take no change events.
        if service is None or (service_only and key.startswith("R")):
            return answers.unknown_key()
        if self._is_throttled(key):
            return answers.throttled()
        return key, service, event

    def _service(self, key: str) -> str | None:
        if self.directory:
            return self.directory.name_of(key)
        return self._unnamed.setdefault(key, f"service {len(self._unnamed) + 1}")

    def _is_throttled(self, key: str) -> bool:
        """Count an event against its key's sliding window, unless the window is full."""
        now = self.clock()
        taken_at = self._taken_at[key]
        while taken_at and now - taken_at[0] >= RATE_WINDOW:
            taken_at.popleft()
        if self.rate_limit and len(taken_at) >= self.rate_limit:
            return True
        taken_at.append(now)
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
