"""The checks of a host as tests: subclass `HostConformance`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import pytest

from hostspec.testing import hosting
from hostspec.testing.hosting import HostCase

HostCheck: TypeAlias = Callable[[HostCase], None]

HOST_CHECKS: Final[tuple[HostCheck, ...]] = (
    hosting.check_discovers,
    hosting.check_disabled_is_not_imported,
    hosting.check_failing_plan,
    hosting.check_failing_send,
    hosting.check_failing_observer,
    hosting.check_hanging_observer,
    hosting.check_failing_extension,
    hosting.check_hanging_extension,
    hosting.check_fails_closed,
    hosting.check_observers_are_told,
    hosting.check_follow_ups_stick,
)
"""What every host must pass, each check a function of a case."""


def _name(check: object) -> str:
    return str(getattr(check, "__name__", check)).removeprefix("check_")


class HostConformance(HostCase):
    """The checks every host must pass. Subclass it as ``Test…``, and write ``run``."""

    @pytest.mark.parametrize("check", HOST_CHECKS, ids=_name)
    def test_conforms(self, check: HostCheck) -> None:
        """Run one check."""
        check(self)
