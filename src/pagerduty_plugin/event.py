"""Builds Events API v2 events from alerts, and repairs what PagerDuty would reject.

Pure. The limits are those of PagerDuty's guide "Send an Alert Event", and of the size limit in
"Events API v2 Overview". Change events are built in `change`, from the same parts.
"""

from __future__ import annotations

import datetime as dt
import itertools
import re
import unicodedata
from collections.abc import Container, Iterable, Mapping
from typing import Any, Final

import attrs

from hostspec import (
    Alert,
    Delivery,
    Image,
    Json,
    Link,
    Operation,
    Repair,
    SendContext,
    Severity,
    Status,
)
from hostspec.normalisation import FrozenDict, Repairs
from hostspec.text import is_blank
from pagerduty_plugin.addresses import (
    NOT_HTTPS,
    Addresses,
    image_member,
    link_to,
    present,
)
from pagerduty_plugin.truncate import MARK, size, truncate_event

LONGEST_SUMMARY: Final = 1024
"""Characters of ``payload.summary``; PagerDuty rejects a longer one."""

LARGEST_BODY: Final = 512_000
"""Bytes of the final UTF-8 body: 512 KB, read as the smaller of its two meanings."""

RESERVED_BYTES: Final = 512
"""Bytes left free while planning, for the routing key and the delivery report."""

LATE: Final = dt.timedelta(seconds=30)
"""A trigger reports its delay if it is sent this long after the host accepted the alert."""

DELIVERY: Final = "_delivery"
"""The member of ``custom_details`` that reports delay, attempts and coalesced deliveries."""

RESERVED: Final = (MARK, DELIVERY)
"""Names in ``custom_details`` that no detail may use."""

MISSED: Final = "_missed"
"""The member of a trigger's message for the ``missed`` setting; stored with the delivery, and
never sent."""

OVER: Final = "before PagerDuty could be notified"
"""In the delivery report of a trigger whose problem is already over."""

OPERATIONS: Final[Mapping[Status, Operation]] = {
    Status.FIRING: Operation.TRIGGER,
    Status.ACKNOWLEDGED: Operation.ACKNOWLEDGE,
    Status.RESOLVED: Operation.RESOLVE,
}
"""The operation for each status of an alert."""

SEVERITIES: Final[Mapping[Severity, str]] = {
    Severity.DEBUG: "info",
    Severity.INFO: "info",
    Severity.WARNING: "warning",
    Severity.ERROR: "error",
    Severity.CRITICAL: "critical",
}
"""PagerDuty's severity for each severity of an alert."""


@attrs.frozen(kw_only=True)
class TextOverrides:
    """The rendered texts of a rule; an empty one keeps the alert's.

    Details are added under unique names; links and images are added, each with an address.
    """

    summary: str = ""
    source: str = ""
    component: str = ""
    group: str = ""
    class_: str = ""
    client: str = ""
    client_url: str = ""
    details: Mapping[str, Json] = FrozenDict()
    links: tuple[Link, ...] = ()
    images: tuple[Image, ...] = ()


NO_OVERRIDES: Final = TextOverrides()
"""The alert's own texts."""


@attrs.frozen
class Event:
    """The content of an event, without routing key, action and dedup key.

    Repairs are the changes that PagerDuty's limits required; notes are for the operator.
    """

    message: Mapping[str, Json]
    repairs: tuple[Repair, ...] = ()
    notes: tuple[str, ...] = ()


def follow_ups(sent: Iterable[str]) -> tuple[Operation, ...]:
    """Return the later operations among those that a rule sends."""
    sent = set(sent)
    return tuple(later for later in (Operation.ACKNOWLEDGE, Operation.RESOLVE) if later in sent)


def build(
    alert: Alert, *, severity: Severity, key: str, texts: TextOverrides = NO_OVERRIDES
) -> Event:
    """Return the trigger of a firing alert, within all limits of PagerDuty.

    The dedup key counts towards the size.
    """
    repairs = Repairs()
    addresses = Addresses(repairs)
    client_url = addresses.first(("client_url", texts.client_url), ("url", alert.url))
    links = addresses.links((*alert.links, *texts.links))
    images = []
    for index, image in addresses.images((*alert.images, *texts.images)):
        shown = image_member(image)
        if shown:
            images.append(shown)
        else:
            links.append(link_to(image))
            repairs.add(f"images[{index}]", NOT_HTTPS)
    payload = {
        "summary": short_summary(texts.summary or alert.summary, repairs),
        "source": texts.source or _source(alert, repairs),
        "severity": SEVERITIES[severity],
        "timestamp": timestamp(alert.started_at),
        "component": texts.component or alert.component,
        "group": texts.group or alert.group,
        "class": texts.class_ or alert.class_,
        "custom_details": custom_details(alert, texts.details, addresses.unusable, repairs),
    }
    members = {"client": texts.client, "client_url": client_url, "links": links, "images": images}
    message = present({"payload": present(payload), **members})
    fitted, cuts = truncate_event(message, room_for_message(key))
    return Event(fitted, (*repairs.as_tuple(), *cuts))


def room_for_message(key: str) -> int:
    """Return the largest size of a trigger's message, in bytes."""
    return LARGEST_BODY - size({"event_action": "trigger", "dedup_key": key}) - RESERVED_BYTES


def body(delivery: Delivery, *, routing_key: str, context: SendContext) -> dict[str, Any]:
    """Return the body of one attempt to send an event.

    An acknowledge or resolve has routing key, action and dedup key, and nothing else.
    """
    event = {
        "routing_key": routing_key,
        "event_action": delivery.operation.value,
        "dedup_key": delivery.ref.correlation_key,
        **delivery.message,
    }
    event.pop(MISSED, None)
    if delivery.operation is not Operation.TRIGGER:
        return event
    return with_report(event, context, over=delivery.over)


def with_report(event: dict[str, Any], context: SendContext, *, over: bool) -> dict[str, Any]:
    """Add the delivery report to an event that was not sent at once, or whose problem is over."""
    delay = _delay(context)
    report: dict[str, int | str] = {}
    if delay >= LATE:
        report["delayed_by"] = f"{int(delay.total_seconds())} s"
    if context.attempt > 1:
        report["attempts"] = context.attempt
    if context.coalesced:
        report["coalesced"] = context.coalesced
    if over:
        report["over"] = OVER
    if not report:
        return event
    payload = {**event["payload"]}
    if context.accepted_at and delay >= LATE:
        # else PagerDuty would show the time of arrival as that of the problem
        payload.setdefault("timestamp", timestamp(context.accepted_at))
    details = {**payload.get("custom_details", {}), DELIVERY: report}
    return {**event, "payload": {**payload, "custom_details": details}}


def _delay(context: SendContext) -> dt.timedelta:
    if context.now is None or context.accepted_at is None:
        return dt.timedelta()
    return context.now - context.accepted_at


def short_summary(text: str, repairs: Repairs) -> str:
    """Return a summary within PagerDuty's limit, without splitting a visible character."""
    if len(text) <= LONGEST_SUMMARY:
        return text
    reason = f"{len(text)} characters, PagerDuty takes {LONGEST_SUMMARY}; cut"
    repairs.add("summary", reason)
    return text[: _cut(text, LONGEST_SUMMARY - 1)] + "…"


_JOINER: Final = "\u200d"
_CONTINUATION: Final = re.compile("[\u200d\u1160-\u11ff\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]")
"""Characters that extend the one before, beside combining marks: the joiner, Korean vowels and
finals, skin tones, and the tags of a regional flag."""
_MOST_MARKS: Final = 32
"""Characters that a cut steps back at most."""


def _cut(text: str, length: int) -> int:
    """Return where to cut a text without splitting a visible character."""
    for cut in range(length, length - _MOST_MARKS, -1):
        following = text[cut]
        combining = unicodedata.category(following).startswith("M")
        joined = _CONTINUATION.match(following) or text[cut - 1] == _JOINER
        if not (combining or joined or _splits_flag(text, cut)):
            return cut
    return length


def _splits_flag(text: str, cut: int) -> bool:
    """Check whether a cut separates the two regional indicators of a flag."""
    run = 0
    while run < cut and "\U0001f1e6" <= text[cut - run - 1] <= "\U0001f1ff":
        run += 1
    return run % 2 == 1 and "\U0001f1e6" <= text[cut] <= "\U0001f1ff"


def _source(alert: Alert, repairs: Repairs) -> str:
    if not is_blank(alert.source):
        return alert.source
    source = "unknown" if is_blank(alert.component) else alert.component
    reason = f"missing or blank, PagerDuty needs one; {source!r} is used instead"
    repairs.add("source", reason)
    return source


def timestamp(moment: dt.datetime | None) -> str:
    """Return a moment as PagerDuty reads it; empty for None."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else ""


def custom_details(
    alert: Alert, added: Mapping[str, Json], unusable: Mapping[str, Json], repairs: Repairs
) -> dict[str, Json]:
    """Return the details with labels, unusable addresses and additions, under unique names."""
    taken = {*RESERVED, *(["labels"] if alert.labels else [])}
    details: dict[str, Json] = {}

    def put(name: str, value: Json, others: Container[str]) -> None:
        unique = unique_detail(name, "details", taken, others)
        if unique != name:
            repairs.add(f"details.{name}", f"the name is taken; moved to {unique!r}")
        details[unique] = value

    for name, value in alert.details.items():
        put(name, value, alert.details if name in taken else ())
    if alert.labels:
        details["labels"] = alert.labels
    for name, value in itertools.chain(unusable.items(), added.items()):
        put(name, value, details)
    return details


def unique_detail(name: str, prefix: str, *taken: Container[str]) -> str:
    """Return the name of a detail, with the prefix repeated until the name is unique."""
    while any(name in each for each in taken):
        name = f"{prefix}.{name}"
    return name
