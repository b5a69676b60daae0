"""The plugin ``conformance-exiting``: exits.

Its extension does for the alert ``mark``, its observer for all others.
"""

from __future__ import annotations

import sys

from hostspec import Alert, Receipt, hookimpl


@hookimpl(tryfirst=True)
def hostspec_delivered(receipt: Receipt) -> None:
    """Exit."""
    if receipt.delivery.alert.key != "mark":
        sys.exit("the plugin exits in an observer")


@hookimpl(tryfirst=True, optionalhook=True)
def conformance_mark(alert: Alert) -> None:
    """Exit."""
    if alert.key == "mark":
        sys.exit("the plugin exits in an extension")
