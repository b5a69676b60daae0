"""Incidents as an operator sees them: where they went, who holds them, and what is cut off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs

from alerthost.cli.ages import age, iso
from alerthost.cli.screen import printable
from alerthost.config.destinations import LaneNames
from hostspec.delivery import Incident, IncidentState
from hostspec.demo import Table
from hostspec.plugins.attempt import can_follow_up
from hostspec.plugins.registry import Plugins
from hostspec.provider import Installation
from hostspec.text import shorten

if TYPE_CHECKING:
    from alerthost.outbox.admin import Admin
    from alerthost.outbox.admin_rows import IncidentRow

ORPHANED: Final = "orphaned"
CUT_OFF: Final = "cut off"

_COLUMNS: Final = (
    *("id", "state", "severity", "service", "incident", "since"),
    *("summary", "held by", "link"),
)
_SUMMARY: Final = _COLUMNS.index("summary")
_OPTIONAL: Final = ("held by", "link")

_WIDE: Final = 80
_NARROW: Final = 20
"""Characters that a table is wide at most, and a summary in it at least."""


@attrs.frozen
class Reach:
    """What is enabled and connected, so that what was opened through it can be closed.

    Attributes:
        plugins: enabled.
        installations: connected, by name.
    """

    plugins: Plugins
    installations: Mapping[str, Installation[Any]]

    @classmethod
    def of(cls, plugins: Plugins, installations: Iterable[Installation[Any]]) -> Reach:
        """Make the one of a configuration."""
        return cls(plugins, {each.name: each for each in installations})

    def gone(self, action: str, installation: str) -> str:
        """Describe what is gone of a way to an incident; empty where nothing is."""
        missing = []
        if action not in self.plugins.actions:
            missing.append(f"the action {action} (no enabled plugin offers it)")
        if installation not in self.installations:
            missing.append(f"the account {installation}")
        return " and ".join(missing)

    def is_orphaned(self, incident: Incident) -> bool:
        """Return whether the key that opened an incident is not configured any more."""
        action = self.plugins.actions.get(incident.ref.action)
        installation = self.installations.get(incident.ref.installation)
        if action is None or installation is None:
            return False
        return not can_follow_up(action, incident, installation)


def cut_off(admin: Admin, reach: Reach) -> Sequence[str]:
    """Return a note on open incidents that cannot be closed any more, once for each cause.

    Raises:
        StoreError: the store cannot be read.
    """
    if not admin.exists:
        return ()
    found = Counter[tuple[str, str, str]]()
    for (action, installation), count in admin.ways().items():
        if gone := reach.gone(action, installation):
            found[installation, gone, "restore the configuration"] += count
    for incident, count in admin.handles():
        if reach.is_orphaned(incident):
            name = f"{incident.ref.installation}/{incident.ref.destination}"
            found[name, "their former key", "configure the key again"] += count
    return [
        f"{_counted(count)} open at {name} cannot be closed without {missing}; {remedy}, or "
        "resolve at the provider and record it with `alerthost resolve --here ID` (see `alerthost "
        "incidents`)"
        for (name, missing, remedy), count in sorted(found.items())
    ]


def _counted(count: int) -> str:
    return "1 incident" if count == 1 else f"{count} incidents"


def state_of(case: IncidentRow, reach: Reach) -> str:
    """Return the one word for how an incident stands."""
    place = case.incident.ref
    if case.orphaned:
        return ORPHANED
    if reach.gone(place.action, place.installation):
        return CUT_OFF
    if not case.incident.holders:
        return "resolving"
    if not case.trigger_delivered or case.incident.state is IncidentState.RESOLVED:
        return "not told yet"
    return str(case.incident.state)


def table(cases: Iterable[IncidentRow], lanes: LaneNames, reach: Reach, now: float) -> Table:
    """Make a table of incidents, 80 characters wide if its links and long names allow it.

    The columns "held by" and "link" are there if one of the incidents has something to show.
    """
    rows = [row(case, lanes, reach, now) for case in cases]
    shown = [
        n
        for n, name in enumerate(_COLUMNS)
        if name not in _OPTIONAL or any(each[n] for each in rows)
    ]
    taken = sum(
        max(len(each[n]) for each in (_COLUMNS, *rows)) + len("  ")
        for n in shown
        if n != _SUMMARY and _COLUMNS[n] != "link"
    )
    room = max(_WIDE - taken, _NARROW)
    fitting = [
        (*each[:_SUMMARY], _cut(each[_SUMMARY], room), *each[_SUMMARY + 1 :]) for each in rows
    ]
    return Table(
        "Incidents",
        tuple(_COLUMNS[n] for n in shown),
        tuple(tuple(each[n] for n in shown) for each in fitting),
    )


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else shorten(text, room - 1)


def row(case: IncidentRow, lanes: LaneNames, reach: Reach, now: float) -> tuple[str, ...]:
    """Make one row of the table; the holders are left out where the incident names its only one."""
    place = case.incident.ref
    holders = ", ".join(map(str, case.incident.holders)) or "nobody"
    held = "" if holders == place.correlation_key else holders
    return (
        str(case.id),
        state_of(case, reach),
        str(case.incident.severity),
        printable(lanes.name_of(place)),
        printable(place.correlation_key),
        age(case.opened_at, now),
        printable(case.summary),
        printable(held),
        printable(lanes.link_of(place)),
    )


def as_json(case: IncidentRow, lanes: LaneNames, reach: Reach) -> dict[str, Any]:
    """Return an incident for machines."""
    incident = case.incident
    return {
        "id": case.id,
        "state": state_of(case, reach),
        "service": lanes.name_of(incident.ref),
        "action": incident.ref.action,
        "correlation_key": incident.ref.correlation_key,
        "severity": str(incident.severity),
        "summary": case.summary,
        "may_be_open": case.may_be_open,
        "holders": [{"scope": each.scope, "key": each.key} for each in incident.holders],
        "rules": list(incident.rules),
        "opened_at": iso(case.opened_at),
        "changed_at": iso(case.changed_at),
        "link": lanes.link_of(incident.ref) or None,
    }
