"""``alerthost demo``: sends realistic alerts to a stand-in, once or until it is stopped."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import signal
import tempfile
import threading
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from alerthost.cli.options import TIMEOUT, command
from alerthost.cli.output import Screen
from alerthost.cli.send import Sender
from alerthost.cli.session import open_session
from alerthost.config.configuration import build
from alerthost.config.document import ConfigFile
from alerthost.ingest.json_alerts import parse_alert
from hostspec.normalisation import Repair
from hostspec.plugins.loading import installed, survey
from hostspec.plugins.registry import Plugins
from hostspec.provider import Demo, Table
from hostspec.text import unknown_name

SERVE_EVERY: Final = 2.0
"""Seconds between two alerts of ``demo --serve``."""

_DISTURBED: Final = 12
"""Alerts between two disturbances of the stand-in."""


@command("Show how it works, without an account.", example="alerthost demo")
@click.option("--serve", is_flag=True, help="Serve the console, with new alerts until Ctrl-C.")
@click.option(
    "--every",
    type=click.FloatRange(min=0.01),
    default=SERVE_EVERY,
    show_default=True,
    help="With --serve: seconds between two alerts.",
)
@click.argument("provider", required=False)
def demo(provider: str | None, *, serve: bool, every: float) -> None:
    """Show how it works, without an account: send realistic alerts to a stand-in.

    With --serve, `alerthost run` serves its console and delivers alerts that fire, repeat and
    resolve, while a service of the stand-in fails now and then. Nothing is left when it ends.

    PROVIDER is required if several installed plugins have a demo.
    """
    found = demos(survey(installed()))
    if provider is None and len(found) != 1:
        names = ", ".join(found)
        message = f"choose a demo: {names}" if found else "no installed plugin has a demo"
        raise click.UsageError(message)
    name = provider or next(iter(found))
    if name not in found:
        raise click.UsageError(unknown_name(name, found))
    screen = Screen()
    if serve:
        _serve(found[name], every, screen)
    screen.exit(success=_run(found[name], screen))


def demos(plugins: Plugins) -> dict[str, Demo]:
    """Return the demos of providers by the name of each."""
    found = {name: provider.demo() for name, provider in sorted(plugins.providers.items())}
    return {name: each for name, each in found.items() if each}


def _run(demo: Demo, screen: Screen) -> bool:
    """Run a demo on a temporary store; return whether everything was delivered."""
    with demo as stage, tempfile.TemporaryDirectory(prefix="alerthost-") as folder:
        alerts = stage.alerts()
        source = ConfigFile(str(Path(folder, "alerthost.toml")), "", stage.configuration())
        repairs: list[tuple[str, ...]] = []

        def show_repair(place: str, repair: Repair) -> None:
            repairs.append((place.removeprefix("line "), repair.field, repair.reason))

        screen.print_lines(stage.introduction(), "bold")
        screen.print()
        with (
            open_session(source, build(source), screen) as session,
            screen.progress("sending", len(alerts)) as session.tracker.advance,
        ):
            session.tracker.show_repair = show_repair
            read = (parse_alert(f"line {number}", text) for number, text in enumerate(alerts, 1))
            Sender(session).run(read, TIMEOUT)
            session.finish()
        screen.print()
        screen.print(session.tracker.tally.summary(), "bold")
        screen.print()
        screen.table(stage.table())
        screen.table(Table("Repairs", ("line", "field", "repair"), tuple(repairs)))
        screen.print_lines(stage.next_steps())
    return session.tracker.tally.all_well


def _serve(demo: Demo, every: float, screen: Screen) -> NoReturn:
    """Serve the console of a demo until a signal, and leave nothing."""
    from alerthost.cli.server import Server  # noqa: PLC0415 -- slow to import

    logging.getLogger("hostspec").addHandler(logging.NullHandler())
    stopped = threading.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: stopped.set())
    with demo as stage, tempfile.TemporaryDirectory(prefix="alerthost-") as folder:
        path = Path(folder, "alerthost.toml")
        table = {**stage.configuration(), "http": {"listen": "127.0.0.1:0"}}
        path.write_text(
            "".join(f"{name} = {_toml(value)}\n" for name, value in table.items()), encoding="utf-8"
        )
        server = Server(path)
        screen.print(f"The console is at {server.url}/ until Ctrl-C.", "bold")
        alerts = [json.loads(text) for text in stage.alerts()]
        resolves = [{"key": each["key"], "status": "resolved"} for each in alerts if "key" in each]
        stream = enumerate(itertools.cycle([*alerts, *resolves]), 1)
        while not stopped.wait(every):
            number, alert = next(stream)
            with contextlib.suppress(OSError):  # a faulty alert of the demo is rejected
                _post(server.url, alert)
            if number % _DISTURBED == 0:
                stage.disturb()
        server.stop()
    screen.exit(success=True)


def _toml(value: Any) -> str:
    """Return a value as TOML, which writes texts, lists and numbers as JSON does."""
    if isinstance(value, Mapping):
        pairs = (f"{json.dumps(name)} = {_toml(each)}" for name, each in value.items())
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)


def _post(url: str, alert: object) -> None:
    request = urllib.request.Request(  # noqa: S310 -- to the listener of this process
        f"{url}/alerts", json.dumps(alert).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as response:  # noqa: S310 -- likewise
        response.read()
