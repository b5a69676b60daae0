"""Checks that no secret leaks: a canary is in its place, and is looked for everywhere."""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import json
import logging
import pickle
import traceback
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Final

import attrs

from hostspec.action import Preview
from hostspec.delivery import Delivery, Outcome, SendContext
from hostspec.settings import secrets
from hostspec.testing import samples, service
from hostspec.testing.case import (
    INSTALLATION,
    NOWHERE,
    VARIABLE,
    ProviderCase,
    UnderTest,
    environment,
)
from hostspec.testing.declarations import UNKNOWN
from hostspec.testing.requirement import fail, require
from hostspec.values import to_json

_SHORTEST: Final = 12
"""Characters of a canary; a shorter one could stand somewhere by chance."""


def check_canary(case: ProviderCase) -> None:
    """The case names a canary if the settings hold a secret; without it nothing is proved."""
    held = tuple(secrets(case.connect().installation.settings))
    require(
        not held or (len(case.canary) >= _SHORTEST and case.canary in case.secret(NOWHERE)),
        "the installation's settings hold a secret, but the case has no canary in it; set "
        f"`canary` to {_SHORTEST} characters or more that are in secret(url)",
    )
    require(
        held or not case.canary,
        "the case has a canary, but the installation's settings hold no Secret, so that it may "
        "be printed; declare the setting as hostspec.Secret, or put `secret` into "
        "installation_settings()",
    )


def check_values_hold_no_secret(case: ProviderCase) -> None:
    """No ``repr``, ``str``, JSON or pickle shows the secret, given by reference or as itself."""
    for seen in _everything(case):
        installation = seen.connected.installation
        for what, value in (
            ("installation", installation),
            ("installation's settings", installation.settings),
            ("provider", seen.connected.provider),
            ("action", seen.connected.action),
            ("delivery", seen.delivery),
        ):
            for how, form in FORMS.items():
                _require_hidden(case, _attempt(form, value), f"the {how} of the {what}")


def check_outcomes_hold_no_secret(case: ProviderCase) -> None:
    """Neither reason nor handle tells the secret, even where the service quotes the request."""
    for seen in _everything(case):
        _require_hidden(case, seen.outcome.reason, "the reason of an outcome")
        _require_hidden(case, repr(to_json(seen.outcome)), "the handle of an outcome")


def check_probes_hold_no_secret(case: ProviderCase) -> None:
    """Nothing that a probe gives, logs or prints tells the secret, even where it is quoted."""
    with overhearing() as heard:
        told = [
            repr(to_json(case.probe(connected, destination)))
            for connected in _connections(case)
            for destination in connected.destinations()
        ]
        logged = heard.getvalue()
    _require_hidden(case, "\n".join(told), "the outcome of a probe")
    _require_hidden(case, logged, "what a probe logs at DEBUG or prints")


def check_descriptions_hold_no_secret(case: ProviderCase) -> None:
    """What an action says of itself does not show the secret."""
    for connected in (case.connect(), case.connect(NOWHERE, case.secret(NOWHERE))):
        with environment({VARIABLE: case.secret(NOWHERE)}):
            settings, installation = connected.settings, connected.installation
            told = _told(functools.partial(connected.action.describe, settings, installation))
        _require_hidden(case, told, "the description of an action")


def check_previews_hold_no_secret(case: ProviderCase) -> None:
    """A preview is made without reading the secret, and does not show it."""
    for connected in (case.connect(), case.connect(NOWHERE, case.secret(NOWHERE))):
        delivery = connected.open(samples.firing("conformance-preview"))
        try:
            preview: object = connected.action.preview(
                delivery, connected.installation, SendContext()
            )
        except Exception as error:  # noqa: BLE001 -- told as what it is
            fail(
                f"preview() raised {type(error).__name__}; show what would be sent without "
                "reading a secret or asking the network"
            )
        require(
            isinstance(preview, Preview),
            f"preview() returned a {type(preview).__name__}; return a Preview",
        )
        _require_hidden(case, repr(preview), "a preview")


def check_logs_hold_no_secret(case: ProviderCase) -> None:
    """Nothing that is logged at DEBUG or printed tells the secret."""
    with overhearing() as heard:
        for _ in _everything(case):
            pass
        logged = heard.getvalue()
    _require_hidden(case, logged, "what is logged at DEBUG or printed")


def check_exceptions_hold_no_secret(case: ProviderCase) -> None:
    """No fault, and no exception with its causes, tells the secret."""
    secret = case.secret(NOWHERE)
    connected = case.connect()
    provider, action, installation = connected.provider, connected.action, connected.installation
    delivery = connected.open(samples.firing("conformance-exception"))
    given = case.installation_settings(NOWHERE, secret)
    told = [
        _told(functools.partial(provider.installation, INSTALLATION, raw))
        for raw in (
            secret,
            [secret],
            {**given, UNKNOWN: secret},
            {name: [secret] for name in given},
        )
    ]
    for value in (secret, f"no address of {secret}", f"\x7f{secret}é"):
        with environment({VARIABLE: value}):
            told += [
                _told(lambda: provider.check(installation)),
                _told(lambda: action.limits(delivery, installation)),
                _told(lambda: action.send(delivery, installation, SendContext())),
            ]
    _require_hidden(case, "\n".join(told), "a fault, or an exception with its causes,")


@attrs.frozen
class _Seen:
    """What came of one attempt to send."""

    connected: UnderTest
    delivery: Delivery
    outcome: Outcome


def _everything(case: ProviderCase) -> Iterator[_Seen]:
    """Send through every connection."""
    for connected in _connections(case):
        delivery = connected.open(samples.firing("conformance-canary"))
        yield _Seen(connected, delivery, case.send(connected, delivery))


def _connections(case: ProviderCase) -> Iterator[UnderTest]:
    """Connect with the secret by reference and as itself, to one that takes and one that quotes.

    The service that quotes refuses, and repeats all that it was sent; where there is no secret,
    it is left out.
    """
    quoting = (lambda: service.serving(service.echoing),) if case.canary else ()
    for at in (case.service, *quoting):
        with case.connected(at()) as (by_reference, there):
            yield by_reference
            yield case.connect(there.url, case.secret(there.url))


def _require_hidden(case: ProviderCase, text: str, what: str) -> None:
    require(
        not shows(text, case.canary),
        f"{what} shows the secret; hold it as a hostspec.Secret, reveal it in send() alone, and "
        "take it out of what the network and the service say",
    )


def shows(text: str, canary: str) -> bool:
    """Check whether a text shows a canary: as it is, escaped for a URL or JSON, or in Base64."""
    if not canary:
        return False
    forms = {canary, urllib.parse.quote(canary, safe=""), json.dumps(canary)[1:-1]}
    for before in range(3):
        encoded = base64.b64encode(b" " * before + canary.encode()).decode()
        forms.add(encoded[4:-4] or canary)  # its ends depend on what stands beside it
    return any(form.casefold() in text.casefold() for form in forms)


FORMS: Final[dict[str, Callable[[object], str]]] = {
    "repr": repr,
    "str": str,
    "JSON": lambda value: json.dumps(to_json(value)),
    "pickle": lambda value: pickle.dumps(value).decode("latin-1"),
}


def _attempt(form: Callable[[object], str], value: object) -> str:
    """Return a form of a value; what cannot be had shows nothing but the error."""
    try:
        return form(value)
    except Exception as error:  # noqa: BLE001 -- whatever cannot be pickled says so its own way
        return str(error)


def _told(call: Callable[[], object]) -> str:
    try:
        return repr(call())
    except Exception as error:  # noqa: BLE001 -- it is what is looked at
        return "".join([repr(error), *traceback.format_exception(error)])


@contextlib.contextmanager
def overhearing() -> Iterator[io.StringIO]:
    """Take down what every logger says at DEBUG, and what is printed."""
    heard = io.StringIO()
    handler = logging.StreamHandler(heard)
    root = logging.getLogger()
    named = [each for each in root.manager.loggerDict.values() if isinstance(each, logging.Logger)]
    levels = {logger: logger.level for logger in (root, *named)}
    disabled = logging.root.manager.disable
    logging.disable(logging.NOTSET)
    root.addHandler(handler)
    for logger in levels:
        logger.setLevel(logging.DEBUG)
    try:
        with contextlib.redirect_stdout(heard), contextlib.redirect_stderr(heard):
            yield heard
    finally:
        root.removeHandler(handler)
        logging.disable(disabled)
        for logger, level in levels.items():
            logger.setLevel(level)
