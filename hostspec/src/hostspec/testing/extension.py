"""The checks of an extension as tests: subclass `ExtensionConformance`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import pytest

from hostspec.testing import extending
from hostspec.testing.extending import ExtensionCase

ExtensionCheck: TypeAlias = Callable[[ExtensionCase], None]

EXTENSION_CHECKS: Final[tuple[ExtensionCheck, ...]] = (
    extending.check_loads,
    extending.check_settings,
    extending.check_hooks,
    extending.check_missing_secret,
    extending.check_threads,
    extending.check_secrets,
)
"""The checks of every extension, each a function of a case."""


def _name(check: object) -> str:
    return str(getattr(check, "__name__", check)).removeprefix("check_")


class ExtensionConformance(ExtensionCase):
    """The checks every extension must pass. Subclass it as ``Test…``.

    The attributes and methods are those of `ExtensionCase`.
    """

    @pytest.mark.parametrize("check", EXTENSION_CHECKS, ids=_name)
    def test_conforms(self, check: ExtensionCheck) -> None:
        """Run one check."""
        check(self)
