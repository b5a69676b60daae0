"""Runs checks of the conformance kit on cases that are expected to fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from hostspec.testing import ConformanceError

T = TypeVar("T")


def name_of(check: Callable[[T], None]) -> str:
    return check.__name__.removeprefix("check_")


def failures(case: T, checks: Iterable[Callable[[T], None]]) -> dict[str, str]:
    """Run checks; return the messages of those that fail, by their names."""
    failed = {}
    for check in checks:
        try:
            check(case)
        except ConformanceError as error:
            failed[name_of(check)] = str(error)
    return failed
