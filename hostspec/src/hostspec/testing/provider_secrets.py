"""Provider checks: the secret contains a canary, which must show nowhere."""

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

from hostspec.action import Preview, as_durable
from hostspec.delivery import Delivery, Outcome, SendContext
from hostspec.settings import secrets
from hostspec.testing import service
from hostspec.testing.provider_case import NOWHERE, ActionUnderTest, ProviderCase
from hostspec.testing.support import (
    INSTALLATION,
    SHORTEST_CANARY,
    UNKNOWN,
    VARIABLE,
    environment,
    fail,
    firing,
    require,
)
from hostspec.values import to_json

FORMS: Final[dict[str, Callable[[object], str]]] = {
    "repr": repr,
    "str": str,
    "JSON": lambda value: json.dumps(to_json(value)),
    "pickle": lambda value: pickle.dumps(value).decode("latin-1"),
}


def check_canary(case: ProviderCase) -> None:
    """The case has a canary if the settings have a secret; without it nothing is proved."""
    has_secret = any(secrets(case.connect().installation.settings))
    require(
        not has_secret
        or (len(case.canary) >= SHORTEST_CANARY and case.canary in case.secret(NOWHERE)),
        "the installation's settings have a secret, but the case has no canary in it; set "
        f"`canary` to {SHORTEST_CANARY} characters or more that are in secret(url)",
    )
    require(
        has_secret or not case.canary,
        "the case has a canary, but the installation's settings have no Secret, so that it may "
        "be printed; declare the setting as hostspec.Secret, or put `secret` into "
        "installation_settings()",
    )


def check_values_hold_no_secret(case: ProviderCase) -> None:
    """No ``repr``, ``str``, JSON or pickle shows the secret, whether a reference or literal."""
    for tested, delivery, _ in _attempts(case):
        for name, value in (
            ("installation", tested.installation),
            ("installation's settings", tested.installation.settings),
            ("provider", tested.provider),
            ("action", tested.action),
            ("delivery", delivery),
        ):
            for form, render in FORMS.items():
                text = _render(functools.partial(render, value))
                _require_hidden(case, text, f"the {form} of the {name}")


def check_outcomes_hold_no_secret(case: ProviderCase) -> None:
    """Neither reason nor handle shows the secret, even where the service quotes the request."""
    for _, _, outcome in _attempts(case):
        _require_hidden(case, outcome.reason, "the reason of an outcome")
        _require_hidden(case, repr(to_json(outcome)), "the handle of an outcome")


def check_probes_hold_no_secret(case: ProviderCase) -> None:
    """No outcome, log record or printed line of a probe shows the secret, even if quoted."""
    with recorded_output() as output:
        outcomes = [
            repr(to_json(case.probe(tested, destination)))
            for tested in _connections(case)
            for destination in tested.destinations()
        ]
        printed = output.getvalue()
    _require_hidden(case, "\n".join(outcomes), "the outcome of a probe")
    _require_hidden(case, printed, "the DEBUG log or output of a probe")


def check_descriptions_hold_no_secret(case: ProviderCase) -> None:
    """The description of an action does not show the secret."""
    for tested in _unconnected(case):
        with environment({VARIABLE: case.secret(NOWHERE)}):
            described = _traceback(
                functools.partial(tested.action.describe, tested.settings, tested.installation)
            )
        _require_hidden(case, described, "the description of an action")


def check_previews_hold_no_secret(case: ProviderCase) -> None:
    """A preview is made without reading the secret, and does not show it."""
    for tested in _unconnected(case):
        delivery = tested.plan_trigger(firing("conformance-preview"))
        try:
            preview: object = tested.action.preview(delivery, tested.installation, SendContext())
        except Exception as error:  # noqa: BLE001 -- it is reported
            fail(
                f"preview() raised {type(error).__name__}; show the request without reading a "
                "secret or using the network"
            )
        require(
            isinstance(preview, Preview),
            f"preview() returned a {type(preview).__name__}; return a Preview",
        )
        _require_hidden(case, repr(preview), "a preview")


def check_logs_hold_no_secret(case: ProviderCase) -> None:
    """No DEBUG log record and no printed line shows the secret."""
    with recorded_output() as output:
        for _ in _attempts(case):
            pass
        printed = output.getvalue()
    _require_hidden(case, printed, "the DEBUG log or output")


def check_exceptions_hold_no_secret(case: ProviderCase) -> None:
    """No fault, and no exception with its causes, shows the secret."""
    secret = case.secret(NOWHERE)
    tested = case.connect()
    provider, action, installation = tested.provider, tested.action, tested.installation
    delivery = tested.plan_trigger(firing("conformance-exception"))
    raw = case.installation_settings(NOWHERE, secret)
    calls: list[Callable[[], object]] = [
        functools.partial(provider.installation, INSTALLATION, wrong)
        for wrong in (secret, [secret], {**raw, UNKNOWN: secret}, {name: [secret] for name in raw})
    ]
    texts = [_traceback(call) for call in calls]
    for value in (secret, f"no address of {secret}", f"\x7f{secret}é"):
        with environment({VARIABLE: value}):
            texts += [
                _traceback(lambda: provider.check(installation)),
                _traceback(lambda: as_durable(action).limits(delivery, installation)),
                _traceback(lambda: action.send(delivery, installation, SendContext())),
            ]
    _require_hidden(case, "\n".join(texts), "a fault, or an exception with its causes,")


def _attempts(case: ProviderCase) -> Iterator[tuple[ActionUnderTest, Delivery, Outcome]]:
    for tested in _connections(case):
        delivery = tested.plan_trigger(firing("conformance-canary"))
        yield tested, delivery, case.send(tested, delivery)


def _connections(case: ProviderCase) -> Iterator[ActionUnderTest]:
    """Connect with a reference and with the literal secret, to two services.

    One accepts messages; the other rejects them, and quotes the whole request. The latter is
    left out where there is no secret.
    """
    quoting = (lambda: service.serving(service.quoting),) if case.canary else ()
    for at in (case.service, *quoting):
        with case.connected(at()) as (by_reference, running):
            yield by_reference
            yield case.connect(running.url, case.secret(running.url))


def _unconnected(case: ProviderCase) -> tuple[ActionUnderTest, ActionUnderTest]:
    """Return the action with a reference and with the literal secret, for no service."""
    return case.connect(), case.connect(NOWHERE, case.secret(NOWHERE))


def _require_hidden(case: ProviderCase, text: str, name: str) -> None:
    require(
        not contains_canary(text, case.canary),
        f"{name} shows the secret; hold it as a hostspec.Secret, reveal it in send() alone, and "
        "remove it from the texts of the network and the service",
    )


def contains_canary(text: str, canary: str) -> bool:
    """Check whether a text contains a canary: plain, escaped for a URL or JSON, or in Base64."""
    if not canary:
        return False
    forms = {canary, urllib.parse.quote(canary, safe=""), json.dumps(canary)[1:-1]}
    for before in range(3):
        encoded = base64.b64encode(b" " * before + canary.encode()).decode()
        forms.add(encoded[4:-4] or canary)  # its ends depend on the bytes beside it
    return any(form.casefold() in text.casefold() for form in forms)


def _render(call: Callable[[], str]) -> str:
    """Return a text, or the error's: some values cannot be pickled, for example."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 -- the error is searched, too
        return str(error)


def _traceback(call: Callable[[], object]) -> str:
    try:
        return repr(call())
    except Exception as error:  # noqa: BLE001 -- the error is searched
        return "".join([repr(error), *traceback.format_exception(error)])


@contextlib.contextmanager
def recorded_output() -> Iterator[io.StringIO]:
    """Record every log record at DEBUG and above, and everything that is printed."""
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    root = logging.getLogger()
    named = [each for each in root.manager.loggerDict.values() if isinstance(each, logging.Logger)]
    levels = {logger: logger.level for logger in (root, *named)}
    disabled = logging.root.manager.disable
    logging.disable(logging.NOTSET)
    root.addHandler(handler)
    for logger in levels:
        logger.setLevel(logging.DEBUG)
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            yield output
    finally:
        root.removeHandler(handler)
        logging.disable(disabled)
        for logger, level in levels.items():
            logger.setLevel(level)
