"""The plugin ``conformance-observing``: writes down what observers are told, and gives a mark."""

from __future__ import annotations

from hostspec import Alert, Receipt, hookimpl
from hostspec.testing.probes import journal


@hookimpl
def hostspec_delivered(receipt: Receipt) -> None:
    """Write it down."""
    journal.write("delivered", key=receipt.delivery.alert.key, id=receipt.id)


@hookimpl
def hostspec_undelivered(receipt: Receipt) -> None:
    """Write it down."""
    journal.write("undelivered", key=receipt.delivery.alert.key, id=receipt.id)


@hookimpl(optionalhook=True)
def conformance_mark(alert: Alert) -> str:
    """Return the alert's key."""
    return alert.key
