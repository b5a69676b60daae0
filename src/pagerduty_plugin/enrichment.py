"""Adds to an event what extensions gave, without pushing out any of the alert's own. Pure."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from hostspec import Image, Json, Repair
from hostspec.normalisation import Repairs
from pagerduty_plugin import event
from pagerduty_plugin.addresses import NOT_HTTPS, Addresses, image_member, link_to
from pagerduty_plugin.overrides import Addition
from pagerduty_plugin.truncate import size

ROOM_FOR_CONTAINERS: Final = 64
"""Bytes of the empty containers around details, links and images, where an event has none."""

_ONE: Final[Mapping[str, str]] = {"details": "detail", "links": "link", "images": "image"}


@attrs.frozen
class Enriched:
    """An event with what was added.

    Attributes:
        message: members of the body.
        repairs: what was changed or left out of the additions.
        notes: which plugin added how much.
    """

    message: Mapping[str, Json]
    repairs: tuple[Repair, ...]
    notes: tuple[str, ...]


def enrich(message: Mapping[str, Json], additions: Sequence[Addition], room: int) -> Enriched:
    """Add one by one what there is room for.

    Args:
        message: the event's, which fits by itself; all of it stays.
        additions: in their order.
        room: bytes of UTF-8 that the message may come to.
    """
    enriching = _Enriching(message, room)
    for addition in additions:
        enriching.add(addition)
    return Enriched(enriching.message(), enriching.repairs, tuple(enriching.notes))


class _Enriching:
    """One event while it grows."""

    def __init__(self, message: Mapping[str, Any], room: int) -> None:
        self._repairs = Repairs()
        self.notes: list[str] = []
        self._message = message
        self._details = dict(message["payload"].get("custom_details", {}))
        self._lists = {name: list(message.get(name, ())) for name in ("links", "images")}
        self._free = room - size(message) - ROOM_FOR_CONTAINERS

    @property
    def repairs(self) -> tuple[Repair, ...]:
        """The repairs so far."""
        return self._repairs.told()

    def message(self) -> Mapping[str, Json]:
        """Return the event as it is by now."""
        payload = self._message["payload"]
        if self._details:
            payload = {**payload, "custom_details": self._details}
        lists = {name: entries for name, entries in self._lists.items() if entries}
        return {**self._message, "payload": payload, **lists}

    def add(self, addition: Addition) -> None:
        """Add what one plugin gave."""
        plugin, enrich = addition.plugin, addition.enrich
        for repair in enrich.repairs:
            self._repair(repair.field, f"{repair.reason} (from plugin {plugin})")
        added: Counter[str] = Counter()
        left_out: Counter[str] = Counter()
        found = Repairs()
        addresses = Addresses(found)
        links = addresses.links(enrich.links)
        images = [image for _, image in addresses.images(enrich.images)]
        for repair in found.told():
            self._repair(repair.field, f"{repair.reason} (from plugin {plugin})")
        for name, value in itertools.chain(enrich.details.items(), addresses.unusable.items()):
            place = self._free_place(name, plugin)
            taken = self._take({place: value})
            (added if taken else left_out)["details"] += 1
            if taken:
                self._details[place] = value
        members = [("links", link) for link in links]
        members += [self._on_the_wire(image, plugin) for image in images]
        for name, member in members:
            taken = self._take(member)
            (added if taken else left_out)[name] += 1
            if taken:
                self._lists[name].append(member)
        for name, count in left_out.items():
            told = _counted(name, count)
            self._repair(name, f"no room for {told} from plugin {plugin}; left out")
        if added:
            told = ", ".join(_counted(name, count) for name, count in added.items())
            self.notes.append(f"{told} came from plugin {plugin}")

    def _take(self, member: Mapping[str, Any]) -> bool:
        """Take room for a member of a list or an object, where there is enough."""
        needed = size(member) + 1  # with a comma
        if needed > self._free:
            return False
        self._free -= needed
        return True

    def _free_place(self, name: str, plugin: str) -> str:
        place = event.free_place(name, plugin, self._details, event.MARKS)
        if place != name:
            reason = f"its place is taken; what plugin {plugin} gave moved to {place!r}"
            self._repair(f"details.{name}", reason)
        return place

    def _on_the_wire(self, image: Image, plugin: str) -> tuple[str, dict[str, Any]]:
        member = image_member(image)
        if member:
            return "images", member
        self._repair("images", f"{NOT_HTTPS} (from plugin {plugin})")
        return "links", link_to(image)

    def _repair(self, field: str, reason: str) -> None:
        self._repairs.add(field, reason)


def _counted(name: str, count: int) -> str:
    return f"{count} {_ONE[name] if count == 1 else name}"
