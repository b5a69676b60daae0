"""The work of truncation is linear in the size of the event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from steps import is_linear

from pagerduty_plugin.truncate import truncate_event

from .conftest import Encoded

Shape = Callable[[int], dict[str, Any]]

LIMIT = 32_000


def event(**fields: Any) -> dict[str, Any]:
    return {"payload": {"summary": "s", **fields}}


SHAPES: dict[str, Shape] = {
    "one text": lambda n: event(custom_details={"log": "x" * 300 * n}),
    "escapes": lambda n: event(custom_details={"log": "\x01" * 100 * n}),
    "texts": lambda n: event(custom_details={"lines": ["x" * 300] * n}),
    "members": lambda n: event(custom_details={f"m{i}": [0] * 200 for i in range(n)}),
    "small pieces": lambda n: event(custom_details={f"m{i}": i for i in range(20 * n)}),
    "deep": lambda n: event(custom_details={"a": [[[[{"b": ["x" * 300]}]]]] * n}),
    "fields": lambda n: event(source="x" * 300 * n, component="x" * 300 * n),
    "links": lambda n: {**event(), "links": [{"href": "x" * 300}] * n},
    "images": lambda n: {**event(), "images": [{"src": "x" * 300}] * n},
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_truncation_takes_linear_time(shape: Shape) -> None:
    made = {size: shape(size) for size in (300, 600)}
    assert is_linear(lambda size: truncate_event(made[size], LIMIT), 300)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_truncation_encodes_linearly(shape: Shape, encoded: Encoded) -> None:
    def bytes_for(size: int) -> int:
        message = shape(size)
        encoded.characters = 0
        truncate_event(message, LIMIT)
        return encoded.characters

    assert bytes_for(600) <= 2.2 * bytes_for(300)
