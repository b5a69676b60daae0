"""Checks of a provider's setup: connecting an account in a browser."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import attrs

from hostspec.connect.install_flow import (
    LIFETIME,
    STATE,
    InstallError,
    InstallFlow,
    InstallProblem,
    InstallRequest,
)
from hostspec.settings import SettingsError
from hostspec.structuring import structure
from hostspec.testing.case import ProviderCase
from hostspec.testing.planning import require_round_trip
from hostspec.testing.requirement import fail, require
from hostspec.testing.watching import purely

_CALLBACK: Final = "https://host.example/callback"
_NOW: Final = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
_GIVEN_STATE: Final = "conformance-state"


def check_install_flow(case: ProviderCase) -> None:
    """A setup, where there is one, sends a person out with a state, and takes no other back."""
    provider, _ = case.load()
    setup: object = provider.install_flow()
    if setup is None:
        return
    if not isinstance(setup, InstallFlow) or setup.provider != provider.name:
        fail("install_flow() gave no InstallFlow of this provider; give one, or None")
    begun = _begun(setup, case.setup_settings)
    pending = begun.pending
    require_round_trip(pending, "pending setup")
    for parameters, held, now, problem in (
        ({STATE: "another"}, pending, _NOW, InstallProblem.WRONG_STATE),
        ({STATE: _GIVEN_STATE}, None, _NOW, InstallProblem.WRONG_STATE),
        (
            {STATE: _GIVEN_STATE},
            attrs.evolve(pending, used=True),
            _NOW,
            InstallProblem.REUSED_STATE,
        ),
        ({STATE: _GIVEN_STATE}, pending, _NOW + LIFETIME, InstallProblem.EXPIRED_STATE),
    ):
        told = _refusal(functools.partial(setup.finish, parameters, held, now=now))
        require(
            told is problem,
            f"finish() ends as {told} where {problem} is right; leave the state to Setup",
        )
    told = _refusal(lambda: setup.finish({STATE: _GIVEN_STATE}, pending, now=_NOW))
    require(
        isinstance(told, InstallProblem),
        f"finish() ends as {told} where the provider sent nothing; raise a InstallError",
    )


def _begun(setup: InstallFlow[Any, Any], raw: Mapping[str, object]) -> InstallRequest:
    try:
        settings = structure(setup.settings, dict(raw))
    except SettingsError as error:
        fail(f"the setup's settings are refused: {error}; set the case's `setup_settings`")
    begin = functools.partial(setup.begin, _CALLBACK, settings, now=_NOW, state=_GIVEN_STATE)
    begun: InstallRequest = purely("begin", begin)
    address = urlsplit(begun.url)
    require(
        address.scheme in ("http", "https") and address.hostname,
        f"a person is sent to {begun.url!r}, which is no address of a page",
    )
    require(
        _CALLBACK in unquote(begun.url) and _GIVEN_STATE in unquote(begun.url),
        "the provider's page is not told where to send the person back, with the state; put all "
        "of the redirect URL into the address",
    )
    return begun


def _refusal(call: Callable[[], object]) -> object:
    """Return the problem of the setup; else what came of it."""
    try:
        call()
    except InstallError as error:
        return error.problem
    except Exception as error:  # noqa: BLE001 -- told as what it is
        return type(error).__name__
    return "connected"
