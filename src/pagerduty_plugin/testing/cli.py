"""The command ``fake-pagerduty``: a fake PagerDuty that runs until it is told to stop."""

from __future__ import annotations

import argparse
import signal
import threading
from typing import TYPE_CHECKING, Final, NoReturn

from pagerduty_plugin.testing import account, install_page
from pagerduty_plugin.testing.fake import REGIONS, FakePagerDuty
from pagerduty_plugin.testing.server import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_MAX_PORT: Final = 65_535


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command until SIGTERM or SIGINT.

    Args:
        arguments: The command line without the program's name; None takes the process's own.

    Returns:
        The exit status.

    Raises:
        SystemExit: with status 2 and one line on standard error, if the command line or the port
            will not do.
    """
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
    except ValueError as error:
        parser.error(str(error))
    told = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: told.set())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        try:
            fake.start()
        except OSError as error:
            parser.error(f"cannot listen on {HOST}:{options.port}: {error.strerror}")
        print(f"fake PagerDuty ({fake.region}): {fake.url}", flush=True)  # noqa: T201
        told.wait()
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
            "A strict stand-in for PagerDuty on loopback: Events API v2, install page and as much "
            "of the REST API as connects services. It pages nobody; its incidents are at / (page) "
            "and /incidents (JSON)."
        ),
        epilog=f"Example: fake-pagerduty --port 8080 --service checkout={'0123456789abcdef' * 2}",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--port", type=_port, default=0, metavar="N", help="TCP port; 0, the default, is a free one"
    )
    parser.add_argument(
        "--region", choices=REGIONS, default="us", help="region of the account (default: us)"
    )
    parser.add_argument(
        "--service",
        type=_service,
        action="append",
        default=[],
        metavar="NAME=KEY",
        help=(
            "name a service and its integration key; may be repeated. "
            "Without it every well-formed key is taken"
        ),
    )
    parser.add_argument(
        "--empty-service",
        action="append",
        default=[],
        metavar="NAME",
        help="name a service that has no integration yet; may be repeated",
    )
    parser.add_argument(
        "--api-token",
        action="append",
        default=[],
        metavar="TOKEN",
        help=(
            "take this token of the REST API: 20 characters, or an OAuth token, which begins with "
            "pdus+_ or pdeu+_; may be repeated"
        ),
    )
    parser.add_argument(
        "--app",
        type=_app,
        action="append",
        default=[],
        metavar="ID=REDIRECT_URL",
        help=(
            f"let an app be installed at {install_page.PATH}, and its installations be sent back "
            "there; may be repeated"
        ),
    )
    parser.add_argument(
        "--rate-limit",
        type=_rate_limit,
        default=account.RATE_LIMIT,
        metavar="N",
        help=(
            "events each integration key may send in any 60 seconds; 0 is no limit "
            f"(default: {account.RATE_LIMIT})"
        ),
    )
    return parser


def _port(text: str) -> int:
    if not _is_number(text) or int(text) > _MAX_PORT:
        msg = f"{text!r} is not a port (0 to {_MAX_PORT})"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _rate_limit(text: str) -> int:
    if not _is_number(text):
        msg = f"{text!r} is not a number of events"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _service(text: str) -> tuple[str, str]:
    # The last `=`, because a key has none; and never the text itself, which holds the key.
    name, equals, key = text.rpartition("=")
    if not equals:
        msg = "a service is given as NAME=KEY"
        raise argparse.ArgumentTypeError(msg)
    return name, key


def _app(text: str) -> tuple[str, str]:
    # The first `=`, because an id has none and a URL may.
    app_id, equals, redirect_url = text.partition("=")
    if not (app_id and equals and redirect_url):
        msg = f"{text!r} is no app; one is given as ID=REDIRECT_URL"
        raise argparse.ArgumentTypeError(msg)
    return app_id, redirect_url


def _apps(given: Sequence[tuple[str, str]]) -> Iterator[install_page.App]:
    """Make an app of each id, with every redirect URL that it was given with."""
    for app_id in dict.fromkeys(app_id for app_id, _ in given):
        urls = tuple(url for named, url in given if named == app_id)
        yield install_page.App(app_id=app_id, redirect_urls=urls)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()
