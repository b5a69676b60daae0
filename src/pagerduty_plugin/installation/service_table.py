"""The service table: the services of an account as rows that a person edits. Pure.

A row is ``{"id": ..., "name": ..., "integration_key": ...}``. Its key is one text, or a list of
them while a key is rotated, the newest first. Keys go out masked; a mask that comes back stands
for the key it was made of.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from hostspec import Fault, FaultsError, Installation, Secret
from hostspec.connect import DestinationTable
from hostspec.text import clean_text
from pagerduty_plugin.keys import STARS, mask, readable_fingerprint, routing_key_fault
from pagerduty_plugin.settings import InstallationSettings, NewService, ServiceSettings

_COLUMNS: Final = ("id", "name", "integration_key")


@attrs.frozen
class SharedKey:
    """One integration key in several places: they share PagerDuty's dedup scope.

    The same problem is one incident for all of them, and the first resolve closes it.

    Attributes:
        fingerprint: names the key without telling it.
        places: installation and service, by name.
    """

    fingerprint: str
    places: tuple[tuple[str, str], ...]


class ServiceTable(DestinationTable[InstallationSettings]):
    """The services of a PagerDuty account, for a host to show and edit."""

    row = NewService

    def rows(self, settings: InstallationSettings) -> Sequence[Mapping[str, Any]]:
        """Return the services, keys masked."""
        return rows(settings)

    def save(self, settings: InstallationSettings, table: object) -> InstallationSettings:
        """Take the edited services; see `save`."""
        return save(settings, table)

    def rotate(
        self, settings: InstallationSettings, destination: str, secret: str
    ) -> InstallationSettings:
        """Return a service a new integration key beside the old one; see `rotate`."""
        return rotate(settings, destination, secret)

    def retire(self, settings: InstallationSettings, destination: str) -> InstallationSettings:
        """Keep a service's newest integration key only; see `retire`."""
        return retire(settings, destination)


def one_or_several(keys: Sequence[Secret]) -> Secret | tuple[Secret, ...]:
    """Return a service's keys as its settings hold them."""
    newest, *older = keys
    return (newest, *older) if older else newest


def new_id() -> str:
    """Make an id that no other service has."""
    return uuid.uuid4().hex


def rows(settings: InstallationSettings) -> list[dict[str, Any]]:
    """Return the table as JSON, keys masked."""
    return [
        {
            "id": service.destination,
            "name": service.name,
            "integration_key": _shown([mask(key) for key in service.keys]),
        }
        for service in settings.services
    ]


def save(
    settings: InstallationSettings, table: object, *, make_id: Callable[[], str] = new_id
) -> InstallationSettings:
    """Take an edited table; all of it or nothing.

    A row with an id edits that service, a row without one makes a service, and a service without
    a row is deleted. The rows' order is kept. Rules that go by a former name still find their
    service, and those that name one that is gone go on without it.

    Args:
        settings: the installation's, before.
        table: the rows as JSON.
        make_id: makes the id of a new service.

    Raises:
        FaultsError: with every fault; its path is the row and the field (``[1].name``).
    """
    if not isinstance(table, (list, tuple)):
        raise FaultsError([Fault("", "must be a list of rows")])
    known = {service.destination: service for service in settings.services}
    edits = [_edit(row, known) for row in table]
    faults = [
        fault.below(f"[{index}]") for index, edit in enumerate(edits) for fault in edit.faults
    ]
    faults += _doubles(edits, settings)
    if not edits:
        faults.append(
            Fault("", "no service would be left; to be rid of them all, remove the account")
        )
    if faults:
        raise FaultsError(faults)
    return settings.with_services(_saved(edit, make_id) for edit in edits)


def rotate(settings: InstallationSettings, service: str, key: str) -> InstallationSettings:
    """Put a new key before those that a service has: both are held until `retire`.

    Raises:
        FaultsError: the service is unknown, or the key is none or there already.
    """
    table, row = _table_and_row(settings, service)
    row["integration_key"] = [key, *_several(row["integration_key"])]
    return save(settings, table)


def retire(settings: InstallationSettings, service: str) -> InstallationSettings:
    """End a rotation: keep a service's newest key only.

    What an older key opened and nobody resolved yet cannot be followed up any more.

    Raises:
        FaultsError: the service is unknown.
    """
    table, row = _table_and_row(settings, service)
    row["integration_key"] = _several(row["integration_key"])[0]
    return save(settings, table)


def shared_keys(
    installations: Iterable[Installation[InstallationSettings]],
) -> Sequence[SharedKey]:
    """Find the keys that several services have; those that cannot be read now are passed over."""
    places: dict[str, dict[tuple[str, str], None]] = {}
    for installation in installations:
        for service in installation.settings.services:
            for key in service.keys:
                if name := readable_fingerprint(key):
                    place = (installation.name, service.name)
                    places.setdefault(name, {})[place] = None
    return [SharedKey(name, tuple(found)) for name, found in places.items() if len(found) > 1]


@attrs.frozen
class _Edit:
    """What a row asks for, and what is wrong with it.

    Attributes:
        before: the service it edits; None for a new one.
        name: the service's name from now on; empty where the row has none.
        keys: its keys from now on, each with its path.
        faults: their paths begin inside of the row.
    """

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
    named, before = row.get("id"), None
    if named not in (None, ""):
        before = known.get(named) if isinstance(named, str) else None
        if before is None:
            faults.append(Fault("id", "no service has this id; leave it out for a new one"))
    name = row.get("name")
    name = clean_text(name).strip() if isinstance(name, str) else ""
    if not name:
        faults.append(Fault("name", "is blank, or no text; a service needs one"))
    keys = []
    for path, given in _paths(row.get("integration_key")):
        key = _key(given, before)
        if isinstance(key, Secret):
            keys.append((path, key))
        else:
            faults.append(Fault(path, key))
    return _Edit(before, name, tuple(keys), tuple(faults))


def _paths(given: object) -> Iterator[tuple[str, object]]:
    if isinstance(given, (list, tuple)) and given:
        yield from ((f"integration_key[{index}]", each) for index, each in enumerate(given))
    else:
        yield "integration_key", given


def _key(given: object, before: ServiceSettings | None) -> Secret | str:
    """Make a key of what a row has in its place; else say what is wrong, without quoting it."""
    if not isinstance(given, str) or not given.strip():
        return "is blank, or no text; a service needs an integration key"
    # of several that cannot be read now, the newest
    masked = {mask(key): key for key in reversed(before.keys)} if before else {}
    if key := masked.get(given.strip()):
        return key
    if given.strip().startswith(STARS):
        return "is masked, but not the mask of a key of this service; give the key itself"
    key = Secret(given.strip())
    fault = None if key.reference else routing_key_fault(key.reveal())
    return fault or key


def _doubles(edits: Sequence[_Edit], before: InstallationSettings) -> Iterator[Fault]:
    """Find what stands in the table twice and must not; a key no more often than before."""
    names = Counter(edit.name for edit in edits)
    ids = Counter(edit.before.destination for edit in edits if edit.before)
    keys = Counter(_identity(key) for edit in edits for _, key in edit.keys)
    held = Counter(_identity(key) for service in before.services for key in service.keys)
    for index, edit in enumerate(edits):
        own = edit.before.destination if edit.before else ""
        if ids[own] > 1:
            yield Fault(f"[{index}].id", "is there twice")
        if edit.name and names[edit.name] > 1:
            yield Fault(f"[{index}].name", f"{edit.name!r} is there twice")
        elif ids[edit.name] and edit.name != own:
            yield Fault(f"[{index}].name", f"{edit.name!r} is the id of another service")
        for path, key in edit.keys:
            if keys[_identity(key)] > max(held[_identity(key)], 1):
                yield Fault(f"[{index}].{path}", "the same key is there twice")


def _identity(key: Secret) -> object:
    """Tell keys apart: two references by where they lead, others by what they are."""
    return key.reference or readable_fingerprint(key) or key


def _saved(edit: _Edit, make_id: Callable[[], str]) -> ServiceSettings:
    keys = tuple(key for _, key in edit.keys)
    held = one_or_several(keys)
    if edit.before is None:
        return ServiceSettings(name=edit.name, integration_key=held, id=make_id())
    return attrs.evolve(
        edit.before, name=edit.name, integration_key=held, id=edit.before.destination
    )


def _shown(masks: list[str]) -> str | list[str]:
    return masks if len(masks) > 1 else masks[0]


def _several(shown: str | list[str]) -> list[str]:
    return [shown] if isinstance(shown, str) else shown


def _table_and_row(
    settings: InstallationSettings, service: str
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    table, found = rows(settings), settings.service(service)
    for row in table:
        if found and row["id"] == found.destination:
            return table, row
    raise FaultsError([Fault("", f"there is no service {service!r}")])
