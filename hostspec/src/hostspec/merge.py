"""Plans of one alert that meet in the same incident become one delivery."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import attrs

from hostspec.incident import Delivery, Place

_T = TypeVar("_T")


def merge(deliveries: Iterable[Delivery]) -> tuple[Delivery, ...]:
    """Merge the deliveries of one alert that meet at one place.

    Two rules may name the same service: it is told once, in the words of the delivery with
    the highest severity (the first of them, where several are equal), with the rules and
    notes of all listed. Its incident may be told later whatever one of them allows.

    Returns:
        one delivery for each place, in the order in which the places first came.
    """
    met: dict[Place, list[Delivery]] = {}
    for delivery in deliveries:
        met.setdefault(delivery.place, []).append(delivery)
    return tuple(_one(together) for together in met.values())


def _one(together: list[Delivery]) -> Delivery:
    worst = max(together, key=lambda delivery: delivery.severity.rank)
    return attrs.evolve(
        worst,
        rules=_distinct(rule for delivery in together for rule in delivery.rules),
        notes=_distinct(note for delivery in together for note in delivery.notes),
        follow_ups=_distinct(each for delivery in together for each in delivery.follow_ups),
    )


def _distinct(values: Iterable[_T]) -> tuple[_T, ...]:
    return tuple(dict.fromkeys(values))
