"""Which open incidents can still be closed with the plugins, accounts and keys configured now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import attrs

from alerthost.cli.formatting import counted
from hostspec.delivery import Incident
from hostspec.plugins.isolation import can_follow_up
from hostspec.plugins.registry import Plugins
from hostspec.provider import Installation

if TYPE_CHECKING:
    from alerthost.outbox.admin import Admin


@attrs.frozen
class Reach:
    """The plugins and accounts that incidents can be followed up with.

    Attributes:
        plugins: enabled.
        installations: connected, by name.
    """

    plugins: Plugins
    installations: Mapping[str, Installation[Any]]

    @classmethod
    def of(cls, plugins: Plugins, installations: Iterable[Installation[Any]]) -> Self:
        """Index the installations by name."""
        return cls(plugins, {each.name: each for each in installations})

    def missing(self, action: str, installation: str) -> str:
        """Describe the missing action or account of an incident; empty if both are there."""
        missing = []
        if action not in self.plugins.actions:
            missing.append(f"the action {action} (no enabled plugin offers it)")
        if installation not in self.installations:
            missing.append(f"the account {installation}")
        return " and ".join(missing)

    def is_orphaned(self, incident: Incident) -> bool:
        """Check whether the key that opened an incident is no longer configured."""
        action = self.plugins.actions.get(incident.ref.action)
        installation = self.installations.get(incident.ref.installation)
        if action is None or installation is None:
            return False
        return not can_follow_up(action, incident, installation)


def cut_off_notes(admin: Admin, reach: Reach) -> Sequence[str]:
    """Return one note for each reason why open incidents cannot be closed.

    Raises:
        StoreError: the store cannot be read.
    """
    if not admin.exists:
        return ()
    found = Counter[tuple[str, str, str]]()
    for (action, installation), count in admin.ways().items():
        if missing := reach.missing(action, installation):
            found[installation, missing, "restore the configuration"] += count
    for incident, count in admin.handles():
        if reach.is_orphaned(incident):
            name = f"{incident.ref.installation}/{incident.ref.destination}"
            found[name, "their former key", "configure the key again"] += count
    return [
        f"{counted(count, 'open incident')} at {name} cannot be closed without {missing}; "
        f"{remedy}, or close at the provider and run `alerthost resolve --here ID` (see "
        "`alerthost incidents`)"
        for (name, missing, remedy), count in sorted(found.items())
    ]
