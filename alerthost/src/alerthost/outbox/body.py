"""Writes and reads the text by which a delivery is kept."""

from __future__ import annotations

import json

from hostspec.delivery import Delivery
from hostspec.values import from_json, to_json


def write(delivery: Delivery) -> str:
    """Return the text by which a delivery is kept.

    Raises:
        Exception: it holds what cannot be written, or not be read again. Types rule that out,
            and not every plugin is checked; one such text would stop whatever waits beside it.
    """
    body = json.dumps(to_json(delivery))
    read(body)
    return body


def read(body: str) -> Delivery:
    """Return a delivery by the text that `write` gave."""
    return from_json(Delivery, json.loads(body))
