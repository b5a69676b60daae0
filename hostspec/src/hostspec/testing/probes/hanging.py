"""The plugin ``conformance-hanging``: never returns.

Its extension does not for the alert ``mark``, its observer for no other.
"""

from __future__ import annotations

import threading

from hostspec import Alert, Receipt, hookimpl


@hookimpl(tryfirst=True)
def hostspec_delivered(receipt: Receipt) -> None:
    """Wait for ever."""
    if receipt.delivery.alert.key != "mark":
        threading.Event().wait()


@hookimpl(tryfirst=True, optionalhook=True)
def conformance_mark(alert: Alert) -> None:
    """Wait for ever."""
    if alert.key == "mark":
        threading.Event().wait()
