"""The checks of a provider as tests: subclass `ProviderConformance`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import pytest

from hostspec.testing import connecting, declarations, planning, secrecy, sending
from hostspec.testing.case import ProviderCase

ProviderCheck: TypeAlias = Callable[[ProviderCase], None]

PROVIDER_CHECKS: Final[tuple[ProviderCheck, ...]] = (
    declarations.check_names,
    declarations.check_settings_classes,
    declarations.check_schemas,
    declarations.check_unknown_keys,
    declarations.check_destinations,
    declarations.check_descriptions,
    declarations.check_aims,
    connecting.check_install_flow,
    planning.check_every_alert_is_planned,
    planning.check_plan_is_pure,
    planning.check_follow_up_is_pure,
    planning.check_problems_are_told_apart,
    planning.check_follow_ups,
    planning.check_missed,
    planning.check_follow_ups_need_the_incident_alone,
    planning.check_json_round_trips,
    sending.check_delivers,
    sending.check_network_faults,
    sending.check_addresses,
    sending.check_follow_up_faults,
    sending.check_missing_secret,
    sending.check_probe,
    sending.check_probe_is_honest,
    sending.check_threads,
    sending.check_promise,
    sending.check_limits,
    secrecy.check_canary,
    secrecy.check_values_hold_no_secret,
    secrecy.check_outcomes_hold_no_secret,
    secrecy.check_probes_hold_no_secret,
    secrecy.check_descriptions_hold_no_secret,
    secrecy.check_previews_hold_no_secret,
    secrecy.check_logs_hold_no_secret,
    secrecy.check_exceptions_hold_no_secret,
)
"""What every provider must pass, each check a function of a case."""


def _name(check: object) -> str:
    return str(getattr(check, "__name__", check)).removeprefix("check_")


class ProviderConformance(ProviderCase):
    """The checks every provider must pass. Subclass it as ``Test…``, one class for each action.

    The attributes and methods are those of `ProviderCase`.
    """

    def prepare(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make ready for each check: shorten your timeouts here, say."""

    @pytest.mark.parametrize("check", PROVIDER_CHECKS, ids=_name)
    def test_conforms(self, check: ProviderCheck, monkeypatch: pytest.MonkeyPatch) -> None:
        """Run one check."""
        self.prepare(monkeypatch)
        check(self)
