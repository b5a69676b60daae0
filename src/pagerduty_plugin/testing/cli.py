"""The command ``fake-pagerduty``: a fake PagerDuty that runs until it is stopped."""

from __future__ import annotations

import argparse
import itertools
import math
import re
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Final, NoReturn

import attrs

from pagerduty_plugin.testing import account, misbehaviour, pages
from pagerduty_plugin.testing.fake import REGIONS, FakePagerDuty
from pagerduty_plugin.testing.server import HOST

_MAX_PORT: Final = 65_535
_THROTTLED: Final = 429
_LOOK: Final = 0.5
"""Seconds between two looks for a signal."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command until SIGTERM or SIGINT; exit with status 2 if it cannot start."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        fake = FakePagerDuty(
            region=options.region, port=options.port, rate_limit=options.rate_limit
        )
        for name, key in options.service:
            fake.add_service(name, key)
        for name in options.empty_service:
            fake.create_service(name)
        for token in options.api_token:
            fake.add_api_token(token)
        for app in _apps(options.app):
            fake.register_app(app)
        _misbehave(fake, options)
    except ValueError as error:
        parser.error(str(error))
    stopped = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stopped.set())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        try:
            fake.start()
        except OSError as error:
            parser.error(f"cannot listen on {HOST}:{options.port}: {error.strerror}")
        print(f"fake PagerDuty ({fake.region}): {fake.url}", flush=True)  # noqa: T201
        # a signal that came just before a wait without end would not end it
        any(map(stopped.wait, itertools.repeat(_LOOK)))
    finally:
        fake.stop()
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="fake-pagerduty",
        description=(
            "A strict stand-in for PagerDuty on loopback: Events API v2, install page, and the "
            "REST calls that connect services. It sends no notifications; incidents are at / "
            "(page) and /incidents (JSON)."
        ),
        epilog=f"Example: fake-pagerduty --port 8080 --service checkout={'0123456789abcdef' * 2}",
        allow_abbrev=False,
    )
    text = "TCP port; 0, the default, for a free one"
    parser.add_argument("--port", type=_port, default=0, metavar="N", help=text)
    parser.add_argument(
        "--region", choices=REGIONS, default="us", help="region of the account (default: us)"
    )
    for option, metavar, kind, text in (
        (
            "--service",
            "NAME=KEY",
            _service,
            "define a service and its key; without any, every well-formed key is accepted",
        ),
        ("--empty-service", "NAME", str, "define a service without integrations"),
        (
            "--api-token",
            "TOKEN",
            str,
            "accept this REST API token: 20 characters, or an OAuth token, which begins with "
            "pdus+_ or pdeu+_",
        ),
        (
            "--app",
            "ID=REDIRECT_URL",
            _app,
            f"register an app for the install page {pages.INSTALL_PATH}, with a redirect URL",
        ),
    ):
        parser.add_argument(
            option,
            type=kind,
            action="append",
            default=[],
            metavar=metavar,
            help=f"{text}; may be repeated",
        )
    limit = account.RATE_LIMIT
    text = f"events per integration key in any 60 seconds; 0 for no limit (default: {limit})"
    parser.add_argument("--rate-limit", type=_rate_limit, default=limit, metavar="N", help=text)
    text = "seconds before each response (default: 0)"
    parser.add_argument("--latency", type=_seconds, default=0.0, metavar="SECONDS", help=text)
    text = (
        f"fail requests: an error status from 400 to 599, or {', '.join(_FAILURES)}. A lost one "
        "is processed, and its response is not sent"
    )
    parser.add_argument("--fail", type=_failure, metavar="HOW", help=text)
    text = "share of the requests that fail, from 0 to 1; the same ones in every run (default: 1)"
    parser.add_argument("--fail-rate", type=float, default=1.0, metavar="SHARE", help=text)
    text = "number of requests that fail, after which all succeed (default: no limit)"
    parser.add_argument("--fail-times", type=_times, metavar="N", help=text)
    return parser


_FAILURES: Final = {
    "reset": misbehaviour.reset(),
    "lost": attrs.evolve(misbehaviour.reset(processed="at once"), name="lost"),
    "garbage": misbehaviour.garbage(),
    "captive-portal": misbehaviour.captive_portal(),
}


def _misbehave(fake: FakePagerDuty, options: argparse.Namespace) -> None:
    """Fail requests, and delay all responses."""
    if options.fail:
        failure = attrs.evolve(options.fail, seconds=options.latency)
        fake.misbehave(failure, times=options.fail_times, rate=options.fail_rate)
    elif options.fail_times is not None or options.fail_rate != 1:
        msg = "--fail-rate and --fail-times need --fail"
        raise ValueError(msg)
    if options.latency:
        fake.misbehave(misbehaviour.late(seconds=options.latency))


def _failure(text: str) -> misbehaviour.Misbehaviour:
    if text in _FAILURES:
        return _FAILURES[text]
    if not re.fullmatch("[45][0-9][0-9]", text):
        msg = f"{text!r} is neither a status from 400 to 599 nor {', '.join(_FAILURES)}"
        raise argparse.ArgumentTypeError(msg)
    status = int(text)
    return misbehaviour.throttling() if status == _THROTTLED else misbehaviour.failing(status)


def _times(text: str) -> int:
    return _number(text, "a number of requests")


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,6})?", text):
        msg = f"{text!r} is not a number of seconds, such as 0.2"
        raise argparse.ArgumentTypeError(msg)
    return float(text)


def _port(text: str) -> int:
    return _number(text, f"a port (0 to {_MAX_PORT})", _MAX_PORT)


def _rate_limit(text: str) -> int:
    return _number(text, "a number of events")


def _number(text: str, kind: str, most: float = math.inf) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) > most:
        msg = f"{text!r} is not {kind}"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _service(text: str) -> tuple[str, str]:
    # the last `=`, because keys have none; the error must not quote the text, which has the key
    name, equals, key = text.rpartition("=")
    if not equals:
        msg = "expected NAME=KEY"
        raise argparse.ArgumentTypeError(msg)
    return name, key


def _app(text: str) -> tuple[str, str]:
    # the first `=`, because ids have none and URLs may
    app_id, equals, redirect_url = text.partition("=")
    if not (app_id and equals and redirect_url):
        msg = f"expected ID=REDIRECT_URL, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return app_id, redirect_url


def _apps(given: Sequence[tuple[str, str]]) -> Iterator[pages.App]:
    """Build an app for each id, with all its redirect URLs."""
    for app_id in dict.fromkeys(app_id for app_id, _ in given):
        urls = tuple(url for named, url in given if named == app_id)
        yield pages.App(app_id=app_id, redirect_urls=urls)
