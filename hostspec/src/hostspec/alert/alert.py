"""The alert: the state of one problem at one time."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from hostspec.alert.fields import (
    FaultyAlertError,
    Identity,
    Image,
    Link,
    Severity,
    Status,
    parse_json,
)
from hostspec.alert.reader import FieldReader, adopt
from hostspec.errors import Fault
from hostspec.normalisation import FrozenDict, Json, Repair


@attrs.frozen(init=False)
class Alert:
    """The state of one problem at one time, as reported by the host.

    Almost any input is accepted and repaired: values that JSON cannot hold, an unknown severity,
    a link without an address. ``repairs`` lists each change. Only an alert without a key, or with
    an unknown status, is rejected.

    Attributes:
        key: identifies the problem, from its first firing until it is resolved.
        summary: one line for the responder; the key by default.
        severity: error if it is missing or unknown.
        scope: the tenant or project of the problem.
        source: the affected host, URL or device.
        component: the responsible part of the source.
        group: the logical grouping of components.
        class_: the kind of event (``class`` in JSON).
        started_at: when the problem was detected, aware, in UTC.
        updated_at: when the host made this update, aware, in UTC.
        labels: short texts for matching and routing.
        details: all other data, as JSON.
        url: the alert's page at the host.
        repairs: the changes that made the input readable.

    Raises:
        FaultyAlertError: the alert has no key, or its status is unknown.
    """

    key: str
    summary: str
    status: Status
    severity: Severity
    scope: str
    source: str
    component: str
    group: str
    class_: str
    started_at: dt.datetime | None
    updated_at: dt.datetime | None
    labels: Mapping[str, str]
    details: Mapping[str, Json]
    url: str
    links: tuple[Link, ...]
    images: tuple[Image, ...]
    repairs: tuple[Repair, ...]

    def __init__(  # noqa: PLR0913 -- one argument for each field of an alert
        self,
        key: str,
        summary: str = "",
        *,
        status: Status | str = Status.FIRING,
        severity: Severity | str | None = None,
        scope: str = "",
        source: str = "",
        component: str = "",
        group: str = "",
        class_: str = "",
        started_at: dt.datetime | str | float | None = None,
        updated_at: dt.datetime | str | float | None = None,
        labels: Mapping[str, object] | None = None,
        details: Mapping[str, object] | None = None,
        url: str = "",
        links: Sequence[Link | Mapping[str, object] | str] = (),
        images: Sequence[Image | Mapping[str, object] | str] = (),
        repairs: Sequence[Repair] = (),
    ) -> None:
        reader = FieldReader(repairs)
        read_details = reader.details(details)
        fields: dict[str, Any] = {
            "key": reader.key(key),
            "status": reader.status(status),
            "severity": reader.severity(severity),
            "scope": reader.name("scope", scope),
            "source": reader.text("source", source),
            "component": reader.text("component", component),
            "group": reader.text("group", group),
            "class_": reader.text("class", class_),
            "started_at": reader.moment("started_at", started_at, read_details),
            "updated_at": reader.moment("updated_at", updated_at, read_details),
            "labels": reader.labels(labels, read_details),
            "url": reader.address("url", url, read_details),
            "links": reader.links(links),
            "images": reader.images(images),
        }
        reader.refuse_faults()
        self.__attrs_init__(  # pyright: ignore[reportAttributeAccessIssue]
            **fields,
            summary=reader.summary(summary, fields["key"]),
            details=FrozenDict(read_details),
            repairs=reader.repairs,
        )

    @property
    def identity(self) -> Identity:
        """The scope and the key, which together identify the problem."""
        return Identity(self.scope, self.key)

    @property
    def reported_repairs(self) -> tuple[Repair, ...]:
        """The repairs to report: those of the fields that the alert's status requires.

        A firing alert is sent whole. An acknowledge or resolve only identifies the problem, so a
        missing severity, for example, does not matter. An action that sends more of it adds its
        own repairs (see `hostspec.Delivery`).
        """
        if self.status is Status.FIRING:
            return self.repairs
        return tuple(repair for repair in self.repairs if repair.field in _NAMING)

    def as_of(self, now: dt.datetime) -> Alert:
        """Return the alert without times ahead of the host's clock.

        An ``updated_at`` in the future would make later updates look old. If it is at most a
        minute ahead, a normal difference between clocks, it becomes ``now``. Otherwise it is
        dropped, and updates count in the order of acceptance. A ``started_at`` more than a minute
        ahead becomes ``now``; that of a resolved alert is dropped, as it does not identify the
        episode that ended.
        """
        changes: dict[str, dt.datetime | None] = {}
        repairs = []
        over = self.status is Status.RESOLVED
        began = None if over else now
        use = "it is dropped" if over else "the time of acceptance is taken"
        for name, moment, taken, instead in (
            ("started_at", self.started_at, began, use),
            ("updated_at", self.updated_at, None, "the order of acceptance counts"),
        ):
            lead = moment - now if moment else dt.timedelta()
            if lead > _CLOCKS_DIFFER:
                changes[name] = taken
                reason = f"is {_in_words(lead)} ahead of this host's clock; {instead}"
                repairs.append(Repair(name, reason))
        if self.updated_at and dt.timedelta() < self.updated_at - now <= _CLOCKS_DIFFER:
            changes["updated_at"] = now
        if not changes:
            return self
        evolved: dict[str, Any] = {**changes, "repairs": (*self.repairs, *repairs)}
        return attrs.evolve(self, **evolved)

    @classmethod
    def read(cls, document: object) -> Alert:
        """Build an alert from a parsed JSON object.

        Unknown fields move into the details, with a repair.

        Raises:
            FaultyAlertError: not an object, no key, or an unknown status.
        """
        if not isinstance(document, Mapping):
            raise FaultyAlertError([Fault("", "not a JSON object")])
        known = {name: value for name, value in document.items() if name in _JSON_FIELDS}
        unknown = {name: value for name, value in document.items() if name not in _JSON_FIELDS}
        arguments = {
            _JSON_FIELDS[name]: value for name, value in known.items() if value is not None
        }
        repairs: list[Repair] = []
        if unknown:
            details, repairs = adopt(unknown, arguments.get("details"))
            arguments["details"] = details
        return cls(arguments.pop("key", None), **arguments, repairs=repairs)

    @classmethod
    def restore(cls, fields: Mapping[str, Any]) -> Alert:
        """Build an alert from the fields of another alert, as they are: they were read before."""
        alert = cls.__new__(cls)
        alert.__attrs_init__(**fields)  # pyright: ignore[reportAttributeAccessIssue]
        return alert

    @classmethod
    def read_text(cls, text: str) -> Alert:
        """Build an alert from a JSON text.

        Raises:
            FaultyAlertError: not a JSON object, no key, or an unknown status.
        """
        try:
            document = parse_json(text)
        except json.JSONDecodeError as error:
            reason = f"not a JSON object: {error.msg} at character {error.pos + 1}"
            raise FaultyAlertError([Fault("", reason)]) from None
        return cls.read(document)


_NAMING: Final = frozenset({"key", "scope", "status", "updated_at", "fingerprint"})
"""Fields that identify a problem, or order its updates."""

_CLOCKS_DIFFER: Final = dt.timedelta(minutes=1)
"""The tolerated difference between two clocks; NTP keeps them closer."""

_UNITS: Final = (("days", 86_400), ("h", 3_600), ("min", 60))


def _in_words(duration: dt.timedelta) -> str:
    """Return a duration of more than a minute in the largest unit that yields at least two."""
    seconds = duration.total_seconds()
    unit, size = next((each for each in _UNITS if seconds >= 2 * each[1]), ("s", 1))
    return f"{seconds / size:,.0f} {unit}"


_JSON_FIELDS: Final = {
    field.name.rstrip("_"): field.name for field in attrs.fields(Alert) if field.name != "repairs"
}
