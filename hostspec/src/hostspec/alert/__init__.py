"""The alert, its fields, and the readers that accept almost any input."""

from __future__ import annotations

from hostspec.alert.alert import Alert
from hostspec.alert.fields import (
    FaultyAlertError,
    Identity,
    Image,
    Link,
    Severity,
    Status,
    parse_json,
)
from hostspec.alert.reader import FieldReader

__all__ = [
    "Alert",
    "FaultyAlertError",
    "FieldReader",
    "Identity",
    "Image",
    "Link",
    "Severity",
    "Status",
    "parse_json",
]
