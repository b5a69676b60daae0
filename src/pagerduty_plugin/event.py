"""The Events API v2 event: built from an alert, repaired where PagerDuty would refuse it.

Pure. The limits are those of PagerDuty's guides "Send an Alert Event" and "Send a Change Event",
and of the size limit in "Events API v2 Overview".
"""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import re
import unicodedata
from collections.abc import Container, Mapping
from typing import Any, Final

import attrs

from hostspec import (
    Alert,
    Identity,
    Image,
    Json,
    Link,
    Operation,
    Repair,
    SendContext,
    Severity,
    Status,
)
from hostspec.normalisation import Repairs
from hostspec.text import is_blank
from pagerduty_plugin.addresses import (
    NOT_HTTPS,
    Addresses,
    image_member,
    link_member,
    link_to,
    present,
)
from pagerduty_plugin.text_overrides import Wording
from pagerduty_plugin.truncate import MARK, encode, fit

LONGEST_SUMMARY: Final = 1024
"""Characters of ``payload.summary``; PagerDuty refuses a longer one."""

LONGEST_DEDUP_KEY: Final = 255
"""Characters of ``dedup_key``."""

LARGEST_BODY: Final = 512_000
"""Bytes of the final UTF-8 body: 512 KB, read as the smaller of its two meanings."""

ROOM: Final = 512
"""Bytes kept free while planning, for the routing key and the marks of the delivery."""

LATE: Final = dt.timedelta(seconds=30)
"""A trigger that is sent later than this after the host took the alert says so."""

DELIVERY: Final = "_delivery"
"""The member of ``custom_details`` that says how a trigger came to be sent."""

MARKS: Final = (MARK, DELIVERY)
"""Members of ``custom_details`` that no detail may have."""

MISSED: Final = "_missed"
"""The member of a trigger's message that says what becomes of it once it was missed; it is kept
with the delivery, and never sent."""

OVER: Final = "before PagerDuty could be told"
"""When the problem of a trigger was over that is sent all the same."""

OPERATIONS: Final[Mapping[Status, Operation]] = {
    Status.FIRING: Operation.TRIGGER,
    Status.ACKNOWLEDGED: Operation.ACKNOWLEDGE,
    Status.RESOLVED: Operation.RESOLVE,
}
"""What an alert's status does to an incident."""

SEVERITIES: Final[Mapping[Severity, str]] = {
    Severity.DEBUG: "info",
    Severity.INFO: "info",
    Severity.WARNING: "warning",
    Severity.ERROR: "error",
    Severity.CRITICAL: "critical",
}
"""What PagerDuty calls each severity."""


PLAIN: Final = Wording()
"""Nothing but the alert's own words."""


@attrs.frozen
class Event:
    """What an alert becomes: the body but for routing key, action and dedup key.

    Attributes:
        message: members of the body.
        repairs: what was changed.
    """

    message: Mapping[str, Json]
    repairs: tuple[Repair, ...]


def dedup_key(
    alert: Identity, *, prefix: str = "", rule: str | None = None
) -> tuple[str, tuple[Repair, ...]]:
    """Return the dedup key of a problem: its key, after its scope where it has one.

    A slash in a scope or a rule's name is escaped, so that the first one ends it. A dedup key
    that is too long keeps its beginning and ends in a hash of the whole, so that it stays the
    same from trigger to resolve. Hosts use scopes for all their alerts or for none: an alert
    without one may have a key that looks like another's scope and key.

    Args:
        alert: what names the problem.
        prefix: stands before all; without a slash.
        rule: the name of the rule that the incident is for; None for that of every rule.
    """
    if rule is not None:
        # the scope's place is there though it be empty: else it could be taken for the rule's
        return said_dedup_key(f"{_escape(rule)}/{_escape(alert.scope)}/{alert.key}", prefix)
    return said_dedup_key(
        f"{_escape(alert.scope)}/{alert.key}" if alert.scope else alert.key, prefix
    )


def said_dedup_key(key: str, prefix: str = "") -> tuple[str, tuple[Repair, ...]]:
    """Return the dedup key that a text makes, after a prefix; see `dedup_key`."""
    key = f"{prefix}/{key}" if prefix else key
    if len(key) <= LONGEST_DEDUP_KEY:
        return key, ()
    digest = hashlib.sha256(key.encode()).hexdigest()
    kept = key[: LONGEST_DEDUP_KEY - len(digest) - 1]
    reason = f"{len(key)} characters, PagerDuty takes {LONGEST_DEDUP_KEY}; its end became a hash"
    return f"{kept}…{digest}", (Repair("key", reason),)


def _escape(part: str) -> str:
    return part.replace("%", "%25").replace("/", "%2F")


def build(alert: Alert, *, severity: Severity, key: str, wording: Wording = PLAIN) -> Event:
    """Make the trigger of an alert, within every limit of PagerDuty's.

    Args:
        alert: a firing alert.
        severity: the alert's own, or the one the rule sets.
        key: the dedup key, which counts towards the size.
        wording: what is said beside the alert, or in place of it.
    """
    repairs = Repairs()
    addresses = Addresses(repairs)
    client_url = addresses.first(("client_url", wording.client_url), ("url", alert.url))
    links = addresses.links((*alert.links, *wording.links))
    images = []
    for index, image in addresses.images((*alert.images, *wording.images)):
        shown = image_member(image)
        if shown:
            images.append(shown)
        else:
            links.append(link_to(image))
            repairs.add(f"images[{index}]", NOT_HTTPS)
    payload = {
        "summary": _summary(wording.summary or alert.summary, repairs),
        "source": wording.source or _source(alert, repairs),
        "severity": SEVERITIES[severity],
        "timestamp": _timestamp(alert.started_at) if alert.started_at else "",
        "component": wording.component or alert.component,
        "group": wording.group or alert.group,
        "class": wording.class_ or alert.class_,
        "custom_details": _custom_details(alert, wording.details, addresses.unusable, repairs),
    }
    message = present(
        {
            "payload": present(payload),
            "client": wording.client,
            "client_url": client_url,
            "links": links,
            "images": images,
        }
    )
    fitted, cuts = fit(message, room_for_message(key))
    return Event(fitted, (*repairs.told(), *cuts))


def room_for_message(key: str) -> int:
    """Bytes that a trigger's message may come to, beside what else is in the body."""
    return LARGEST_BODY - len(encode({"event_action": "trigger", "dedup_key": key})) - ROOM


def build_change(alert: Alert, wording: Wording = PLAIN) -> Event:
    """Make the change event of an alert, within every limit of PagerDuty's.

    Images are in PagerDuty's schema and not in its guide, so they become links.

    Args:
        alert: what happened.
        wording: what is said beside the alert, or in place of it.
    """
    repairs = Repairs()
    addresses = Addresses(repairs)
    url = addresses.first(("url", alert.url))
    links = [link_member(Link(url))] if url else []
    links += addresses.links((*alert.links, *wording.links))
    for index, image in addresses.images((*alert.images, *wording.images)):
        links.append(link_to(image))
        repairs.add(f"images[{index}]", "a change event has none; became a link")
    payload = {
        "summary": _summary(wording.summary or alert.summary, repairs),
        "source": wording.source or alert.source,
        "timestamp": _timestamp(alert.started_at) if alert.started_at else "",
        "custom_details": _custom_details(alert, wording.details, addresses.unusable, repairs),
    }
    message = present({"payload": present(payload), "links": links})
    fitted, cuts = fit(message, LARGEST_BODY - ROOM)
    return Event(fitted, (*repairs.told(), *cuts))


def missed_change(message: Mapping[str, Json]) -> Mapping[str, Json]:
    """Make a change event of a trigger's message, for a problem that nobody was told of."""
    trigger: dict[str, Any] = {"client_url": "", "links": (), "images": (), **message}
    images = [Image(image["src"], alt=image.get("alt", "")) for image in trigger["images"]]
    url = [Link(trigger["client_url"])] if trigger["client_url"] else []
    links = (*map(link_member, url), *trigger["links"], *map(link_to, images))
    names = ("summary", "source", "timestamp", "custom_details")
    payload = {name: value for name, value in trigger["payload"].items() if name in names}
    fitted, _ = fit(present({"payload": payload, "links": links}), LARGEST_BODY - ROOM)
    return fitted


def body(  # noqa: PLR0913 -- each has a name
    operation: Operation,
    key: str,
    message: Mapping[str, Json],
    *,
    routing_key: str,
    context: SendContext,
    over: bool = False,
) -> dict[str, Any]:
    """Make the whole body of one attempt; `over` is the delivery's.

    An acknowledge or resolve carries routing key, action and dedup key, and nothing else.
    """
    event = {
        "routing_key": routing_key,
        "event_action": operation.value,
        "dedup_key": key,
        **message,
    }
    event.pop(MISSED, None)
    return _marked(event, context, over=over) if operation is Operation.TRIGGER else event


def change_body(
    message: Mapping[str, Json], *, routing_key: str, context: SendContext, over: bool = False
) -> dict[str, Any]:
    """Make the whole body of one attempt to record a change; `over` is the delivery's."""
    return _marked({"routing_key": routing_key, **message}, context, over=over)


def _marked(event: dict[str, Any], context: SendContext, *, over: bool) -> dict[str, Any]:
    marks = _marks(context)
    if over:
        marks["over"] = OVER
    if not marks:
        return event
    payload = {**event["payload"]}
    if context.accepted_at and _delay(context) >= LATE:
        # without one PagerDuty takes the time of arrival, when nobody detected anything
        payload.setdefault("timestamp", _timestamp(context.accepted_at))
    details = {**payload.get("custom_details", {}), DELIVERY: marks}
    return {**event, "payload": {**payload, "custom_details": details}}


def _marks(context: SendContext) -> dict[str, int | str]:
    """Describe what a person should know of a trigger that was not sent at once."""
    marks: dict[str, int | str] = {}
    if _delay(context) >= LATE:
        marks["delayed_by"] = f"{int(_delay(context).total_seconds())} s"
    if context.attempt > 1:
        marks["attempts"] = context.attempt
    if context.coalesced:
        marks["coalesced"] = context.coalesced
    return marks


def _delay(context: SendContext) -> dt.timedelta:
    if context.now is None or context.accepted_at is None:
        return dt.timedelta()
    return context.now - context.accepted_at


def _summary(text: str, repairs: Repairs) -> str:
    if len(text) <= LONGEST_SUMMARY:
        return text
    reason = f"{len(text)} characters, PagerDuty takes {LONGEST_SUMMARY}; cut"
    repairs.add("summary", reason)
    return text[: _cut(text, LONGEST_SUMMARY - 1)] + "…"


_JOINER: Final = "\u200d"
_CONTINUATION: Final = re.compile("[\u200d\u1160-\u11ff\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]")
"""What belongs to the character before it, beside combining marks: the joiner, Korean vowels
and finals, skin tones, and the tags of a regional flag."""
_MOST_MARKS: Final = 32
"""Characters a cut steps back at most: a heap of marks without end is no character."""


def _cut(text: str, length: int) -> int:
    """Find where to cut a text so that no character, as people see it, is split."""
    for cut in range(length, length - _MOST_MARKS, -1):
        following = text[cut]
        combining = unicodedata.category(following).startswith("M")
        joined = _CONTINUATION.match(following) or text[cut - 1] == _JOINER
        if not (combining or joined or _splits_flag(text, cut)):
            return cut
    return length


def _splits_flag(text: str, cut: int) -> bool:
    """Check whether a cut falls between the two regional indicators of a flag."""
    run = 0
    while run < cut and "\U0001f1e6" <= text[cut - run - 1] <= "\U0001f1ff":
        run += 1
    return run % 2 == 1 and "\U0001f1e6" <= text[cut] <= "\U0001f1ff"


def _source(alert: Alert, repairs: Repairs) -> str:
    if not is_blank(alert.source):
        return alert.source
    source = "unknown" if is_blank(alert.component) else alert.component
    reason = f"missing or blank, PagerDuty needs one; {source!r} stands in its place"
    repairs.add("source", reason)
    return source


def _timestamp(moment: dt.datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _custom_details(
    alert: Alert,
    added: Mapping[str, Json],
    unusable: Mapping[str, Json],
    repairs: Repairs,
) -> dict[str, Json]:
    """Put labels, unusable addresses and additions under the details, each at a free place."""
    taken = {*MARKS, *(["labels"] if alert.labels else [])}
    details: dict[str, Json] = {}

    def put(name: str, value: Json, others: Container[str]) -> None:
        place = free_place(name, "details", taken, others)
        if place != name:
            repairs.add(f"details.{name}", f"its place is taken; moved to {place!r}")
        details[place] = value

    for name, value in alert.details.items():
        put(name, value, alert.details if name in taken else ())
    if alert.labels:
        details["labels"] = alert.labels
    for name, value in itertools.chain(unusable.items(), added.items()):
        put(name, value, details)
    return details


def free_place(name: str, prefix: str, *taken: Container[str]) -> str:
    """Return the place of a detail: its name, behind the prefix until nothing else is there."""
    while any(name in each for each in taken):
        name = f"{prefix}.{name}"
    return name
