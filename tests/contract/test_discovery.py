"""Discovery: any provider can offer it, and any host can use it."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import pytest

from hostspec import Destination, Installation, Provider, from_json, setting, structure, to_json
from hostspec.connect import Connected, Discovery, DiscoveryError, Found, FoundState


@attrs.frozen(kw_only=True)
class Door:
    """The settings of the discovery."""

    street: str = setting("Street")


@attrs.frozen(kw_only=True)
class Bells:
    """The bells of a house."""

    ids: tuple[str, ...] = setting("Ids", default=())


class BellDiscovery(Discovery[Door, Bells]):
    provider = "bell"
    settings = Door

    def find(self, settings: Door) -> Sequence[Found]:
        return [Found(settings.street, "Bell", FoundState.READY)]

    def connect(
        self,
        chosen: Sequence[str],
        settings: Door,
        installations: Iterable[Installation[Any]] = (),
        *,
        name: str = "",
    ) -> Connected[Bells]:
        if not chosen:
            message = "No bell was chosen"
            raise DiscoveryError(message)
        again = any(each.name == name for each in installations)
        return Connected(Installation("bell", name, Bells(ids=tuple(chosen))), again=again)


class Bell(Provider[Bells]):
    name = "bell"
    label = "Bell"
    settings = Bells

    def destinations(self, installation: Installation[Bells]) -> Sequence[Destination]:
        return [Destination(each, each) for each in installation.settings.ids]


class FindableBell(Bell):
    def discovery(self) -> BellDiscovery:
        return BellDiscovery()


def test_discovery_is_optional() -> None:
    assert Bell().discovery() is None


def test_host_connects_without_knowing_the_provider() -> None:
    provider: Provider[Any] = FindableBell()
    discovery = provider.discovery()
    assert discovery is not None
    asking = structure(discovery.settings, {"street": "Elm"})
    (found,) = discovery.find(asking)
    connected = discovery.connect([found.id], asking, name="house")
    assert not connected.again
    assert [each.id for each in provider.destinations(connected.installation)] == ["Elm"]
    assert discovery.connect([found.id], asking, [connected.installation], name="house").again


def test_discovery_error_survives_pickling() -> None:
    with pytest.raises(DiscoveryError) as caught:
        BellDiscovery().connect([], Door(street="Elm"))
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (DiscoveryError, "No bell was chosen")


def test_found_items_survive_json() -> None:
    found = Found("1", "Bell", FoundState.MISSING, "no wire")
    assert to_json(found) == {"id": "1", "name": "Bell", "state": "missing", "detail": "no wire"}
    assert from_json(Found, to_json(found)) == found
    assert [str(state) for state in FoundState] == ["ready", "missing", "unusable"]
