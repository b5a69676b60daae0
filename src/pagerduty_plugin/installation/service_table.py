"""The service table: the services of an account as rows that an operator edits. Pure.

A row is ``{"id": ..., "name": ..., "integration_key": ...}``. Its key is one text, or a list of
texts while a key is rotated, the newest first. Keys are shown masked; a mask that is saved
unchanged means the key that it masks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from hostspec import Fault, FaultsError, Installation, Secret
from hostspec.provider import DestinationTable
from hostspec.text import clean_text
from pagerduty_plugin.constants import STARS
from pagerduty_plugin.installation import merge_services
from pagerduty_plugin.installation.merge_services import one_or_several, replace_services
from pagerduty_plugin.routing import mask, readable_fingerprint, routing_key_fault
from pagerduty_plugin.settings import InstallationSettings, NewService, ServiceSettings

_COLUMNS: Final = ("id", "name", "integration_key")


class ServiceTable(DestinationTable[InstallationSettings]):
    """The services of a PagerDuty account, for a host to show and edit."""

    row = NewService

    def rows(self, settings: InstallationSettings) -> list[dict[str, Any]]:
        """Return the services as JSON, with masked keys."""
        rows = []
        for service in settings.services:
            masks = [mask(key) for key in service.keys]
            key = masks if len(masks) > 1 else masks[0]
            rows.append({"id": service.destination, "name": service.name, "integration_key": key})
        return rows

    def save(self, settings: InstallationSettings, table: object) -> InstallationSettings:
        """Return the settings with an edited table; all of it or nothing.

        A row with an id edits that service, a row without one adds a service, and a service
        without a row is removed. The order of the rows is kept. Rules that use a former name
        still find their service, and those that name a removed one ignore it.

        Raises:
            FaultsError: with all faults; a path is row and field (``[1].name``).
        """
        if not isinstance(table, (list, tuple)):
            raise FaultsError([Fault("", "must be a list of rows")])
        known = {service.destination: service for service in settings.services}
        edits = [_edit(row, known) for row in table]
        faults = [
            fault.below(f"[{index}]") for index, edit in enumerate(edits) for fault in edit.faults
        ]
        faults += _duplicates(edits, settings)
        if not edits:
            reason = "at least one service must be left; to remove all, remove the account"
            faults.append(Fault("", reason))
        if faults:
            raise FaultsError(faults)
        return replace_services(settings, map(_saved, edits))

    def rotate(
        self, settings: InstallationSettings, destination: str, secret: str
    ) -> InstallationSettings:
        """Return the settings with a new key for a service, which keeps the old ones too.

        Raises:
            FaultsError: the service is unknown, or the key is invalid or a duplicate.
        """
        return self._change_key(settings, destination, lambda masks: [secret, *masks])

    def retire(self, settings: InstallationSettings, destination: str) -> InstallationSettings:
        """Return the settings with a service's newest key only, which ends a rotation.

        Open incidents of an older key can then no longer be followed up.

        Raises:
            FaultsError: the service is unknown.
        """
        return self._change_key(settings, destination, lambda masks: masks[0])

    def _change_key(
        self, settings: InstallationSettings, name: str, change: Callable[[list[str]], object]
    ) -> InstallationSettings:
        table, service = self.rows(settings), settings.service(name)
        if service is None:
            raise FaultsError([Fault("", f"there is no service {name!r}")])
        row = table[settings.services.index(service)]
        row["integration_key"] = change([mask(key) for key in service.keys])
        return self.save(settings, table)


def shared_keys(
    installations: Iterable[Installation[InstallationSettings]],
) -> Sequence[Sequence[tuple[str, str]]]:
    """Return, for each key of several services, these as pairs of installation and service.

    The services share PagerDuty's dedup scope. Keys that cannot be read now are skipped.
    """
    services: dict[str, dict[tuple[str, str], None]] = {}
    for installation in installations:
        for service in installation.settings.services:
            for key in service.keys:
                if name := readable_fingerprint(key):
                    services.setdefault(name, {})[installation.name, service.name] = None
    return [tuple(found) for found in services.values() if len(found) > 1]


@attrs.frozen
class _Edit:
    """A parsed row: the edited service, if any, its new name, and its new keys with their paths."""

    before: ServiceSettings | None = None
    name: str = ""
    keys: tuple[tuple[str, Secret], ...] = ()
    faults: tuple[Fault, ...] = ()


def _edit(row: object, known: Mapping[str, ServiceSettings]) -> _Edit:
    if not isinstance(row, Mapping):
        return _Edit(faults=(Fault("", "must be an object"),))
    faults = [
        Fault(str(name), f"unknown; known are {', '.join(_COLUMNS)}")
        for name in row
        if name not in _COLUMNS
    ]
    identifier, before = row.get("id"), None
    if identifier not in (None, ""):
        before = known.get(identifier) if isinstance(identifier, str) else None
        if before is None:
            faults.append(Fault("id", "no service has this id; leave it out for a new service"))
    name = row.get("name")
    name = clean_text(name).strip() if isinstance(name, str) else ""
    if not name:
        faults.append(Fault("name", "is blank or not a text; give the service a name"))
    keys = []
    for path, value in _key_paths(row.get("integration_key")):
        key = _key(value, before)
        if isinstance(key, Secret):
            keys.append((path, key))
        else:
            faults.append(Fault(path, key))
    return _Edit(before, name, tuple(keys), tuple(faults))


def _key_paths(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, (list, tuple)) and value:
        yield from ((f"integration_key[{index}]", each) for index, each in enumerate(value))
    else:
        yield "integration_key", value


def _key(value: object, before: ServiceSettings | None) -> Secret | str:
    """Return a key, or the reason why a value is invalid, without quoting it."""
    if not isinstance(value, str) or not value.strip():
        return "is blank or not a text; give the service an integration key"
    # reversed, so that the newest wins if several cannot be read now and have the same mask
    masked = {mask(key): key for key in reversed(before.keys)} if before else {}
    if key := masked.get(value.strip()):
        return key
    if value.strip().startswith(STARS):
        return "is a mask, but not of a key of this service; give the key itself"
    key = Secret(value.strip())
    fault = None if key.reference else routing_key_fault(key.reveal())
    return fault or key


def _duplicates(edits: Sequence[_Edit], before: InstallationSettings) -> Iterator[Fault]:
    """Yield duplicate names and ids; and keys that occur more often than before."""
    names = Counter(edit.name for edit in edits)
    ids = Counter(edit.before.destination for edit in edits if edit.before)
    keys = Counter(_identity(key) for edit in edits for _, key in edit.keys)
    existing = Counter(_identity(key) for service in before.services for key in service.keys)
    for index, edit in enumerate(edits):
        own = edit.before.destination if edit.before else ""
        if ids[own] > 1:
            yield Fault(f"[{index}].id", "is used twice")
        if edit.name and names[edit.name] > 1:
            yield Fault(f"[{index}].name", f"{edit.name!r} is used twice")
        elif ids[edit.name] and edit.name != own:
            yield Fault(f"[{index}].name", f"{edit.name!r} is the id of another service")
        for path, key in edit.keys:
            if keys[_identity(key)] > max(existing[_identity(key)], 1):
                yield Fault(f"[{index}].{path}", "the same key is used twice")


def _identity(key: Secret) -> object:
    return key.reference or readable_fingerprint(key) or key


def _saved(edit: _Edit) -> ServiceSettings:
    keys = one_or_several(tuple(key for _, key in edit.keys))
    if edit.before is None:
        return ServiceSettings(name=edit.name, integration_key=keys, id=merge_services.new_id())
    return attrs.evolve(
        edit.before, name=edit.name, integration_key=keys, id=edit.before.destination
    )
