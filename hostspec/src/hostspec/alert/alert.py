"""The alert: the host's statement about one problem at one time."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from hostspec.alert.fields import FaultyAlertError, Identity, Image, Link, Severity, Status
from hostspec.alert.formats import parse_json
from hostspec.alert.reader import FieldReader, adopt
from hostspec.errors import Fault
from hostspec.normalisation import FrozenDict, Json, Repair


@attrs.frozen(init=False)
class Alert:
    """The host's statement about one problem at one time.

    Anything is taken and made fit: what JSON cannot hold, a severity nobody knows, a link
    without an address. Each such change stands in ``repairs``. Only what leaves no meaning
    is refused: no key, or an unknown status.

    Attributes:
        key: names the problem, the same from its first firing until it is resolved.
        summary: one line for a person; the key where there is none.
        status: firing, acknowledged or resolved.
        severity: from debug to critical; error where it is missing or unknown.
        scope: the tenant or project the problem belongs to; empty by default.
        source: what is affected (a host, a URL, a device).
        component: the part of the source that is responsible.
        group: the logical grouping of components.
        class_: the kind of event (``class`` in JSON).
        started_at: when the problem was detected, aware, in UTC.
        updated_at: when the host made this statement, aware, in UTC.
        labels: short texts to match and route by.
        details: anything else, as JSON.
        url: the alert's page at the host.
        links: further addresses.
        images: pictures.
        repairs: what was changed to understand this statement.

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
        """The scope and the key, which together name the problem."""
        return Identity(self.scope, self.key)

    @property
    def reported_repairs(self) -> tuple[Repair, ...]:
        """The repairs to report: those of fields on which the alert's status depends.

        A firing alert is sent whole. An acknowledge or resolve only names the problem, so that
        a missing severity, say, does not matter then. An action that sends more of it adds its
        own (see `hostspec.Delivery`).
        """
        if self.status is Status.FIRING:
            return self.repairs
        return tuple(repair for repair in self.repairs if repair.field in _NAMING)

    def as_of(self, now: dt.datetime) -> Alert:
        """Return the alert as a host accepts it: no time in it is ahead of the host's clock.

        An ``updated_at`` of a clock that is ahead would make later updates, with the right time,
        look old. Within a minute, which clocks may differ by, it becomes ``now``. Beyond that it
        says nothing about the order of updates, and is dropped: updates count in the order of
        acceptance then. A ``started_at`` more than a minute ahead becomes ``now``; that of a
        resolved alert is dropped, for it says nothing about which episode ended.

        Args:
            now: by the host's clock, aware.
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
    def read(cls, statement: object) -> Alert:
        """Read an alert from the object that one JSON text gave.

        Fields that an alert does not have move into its details, and are reported.

        Raises:
            FaultyAlertError: not an object, no key, or an unknown status.
        """
        if not isinstance(statement, Mapping):
            raise FaultyAlertError([Fault("", "not a JSON object")])
        known = {name: value for name, value in statement.items() if name in _JSON_FIELDS}
        unknown = {name: value for name, value in statement.items() if name not in _JSON_FIELDS}
        arguments = {
            _JSON_FIELDS[name]: value for name, value in known.items() if value is not None
        }
        repairs: list[Repair] = []
        if unknown:
            details, repairs = adopt(unknown, arguments.get("details"))
            arguments["details"] = details
        return cls(arguments.pop("key", None), **arguments, repairs=repairs)

    @classmethod
    def read_text(cls, text: str) -> Alert:
        """Read an alert from one JSON text.

        Raises:
            FaultyAlertError: not a JSON object, no key, or an unknown status.
        """
        try:
            statement = parse_json(text)
        except json.JSONDecodeError as error:
            reason = f"not a JSON object: {error.msg} at character {error.pos + 1}"
            raise FaultyAlertError([Fault("", reason)]) from None
        return cls.read(statement)


_NAMING: Final = frozenset({"key", "scope", "status", "updated_at", "fingerprint"})
"""Fields that identify a problem, and order its updates."""

_CLOCKS_DIFFER: Final = dt.timedelta(minutes=1)
"""How far two clocks may be apart without anything being wrong; those kept by NTP differ less."""

_UNITS: Final = (("days", 86_400), ("h", 3_600), ("min", 60))


def _in_words(duration: dt.timedelta) -> str:
    """Format a duration of more than a minute, in the largest unit that gives two or more."""
    seconds = duration.total_seconds()
    unit, size = next((each for each in _UNITS if seconds >= 2 * each[1]), ("s", 1))
    return f"{seconds / size:,.0f} {unit}"


_JSON_FIELDS: Final = {
    field.name.rstrip("_"): field.name for field in attrs.fields(Alert) if field.name != "repairs"
}
