"""The plugin ``conformance-idle``: writes down that it is imported."""

from __future__ import annotations

from hostspec import Receipt, hookimpl
from hostspec.testing.probes import journal

journal.write("imported", plugin="conformance-idle")


@hookimpl
def hostspec_delivered(receipt: Receipt) -> None:
    """Write down that it is called, though nobody enabled it."""
    journal.write("called", key=receipt.delivery.alert.key)
