"""``alerthost demo``: sends realistic alerts to a stand-in of a provider."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from alerthost.cli.options import TIMEOUT, example, report_errors
from alerthost.cli.screen import Screen
from alerthost.cli.send import Sender
from alerthost.cli.session import open_session
from alerthost.config.configuration import build
from alerthost.config.document import ConfigFile
from alerthost.ingest.json_alerts import parse_alert
from hostspec.normalisation import Repair
from hostspec.plugins.loading import installed, survey
from hostspec.provider import Demo, Table
from hostspec.text import unknown_name


@click.command(short_help="Show how it works, without an account.")
@click.argument("provider", required=False)
@report_errors
@example("alerthost demo")
def demo(provider: str | None) -> None:
    """Show how it works, without an account: send realistic alerts to a stand-in.

    PROVIDER is required if several installed plugins have a demo.
    """
    found = demos()
    if provider is None and len(found) != 1:
        names = ", ".join(found)
        message = f"choose a demo: {names}" if found else "no installed plugin has a demo"
        raise click.UsageError(message)
    name = provider or next(iter(found))
    if name not in found:
        raise click.UsageError(unknown_name(name, found))
    screen = Screen()
    screen.exit(success=_run(found[name], screen))


def demos() -> dict[str, Demo]:
    """Find the demos of all installed plugins, by provider."""
    providers = survey(installed()).providers
    found = {name: provider.demo() for name, provider in sorted(providers.items())}
    return {name: each for name, each in found.items() if each}


def _run(demo: Demo, screen: Screen) -> bool:
    """Run a demo on a temporary store; return whether everything was delivered."""
    with demo as stage, tempfile.TemporaryDirectory(prefix="alerthost-") as folder:
        alerts = stage.alerts()
        document = stage.configuration()
        source = ConfigFile(str(Path(folder, "alerthost.toml")), "", document)
        repairs: list[tuple[str, ...]] = []

        def show_repair(place: str, repair: Repair) -> None:
            repairs.append((place.removeprefix("line "), repair.field, repair.reason))

        screen.print(stage.introduction(), "bold")
        screen.print()
        with (
            open_session(source, build(document), screen) as session,
            screen.progress("sending", len(alerts)) as advance,
        ):
            tracker = session.tracker(advance=advance, show_repair=show_repair)
            read = (parse_alert(f"line {number}", text) for number, text in enumerate(alerts, 1))
            Sender(session.engine, tracker, session.interrupts).run(read, TIMEOUT)
            session.finish(tracker)
        screen.print()
        screen.print(tracker.tally.summary(), "bold")
        screen.print()
        screen.table(stage.table())
        screen.table(Table("Repairs", ("line", "field", "repair"), tuple(repairs)))
        screen.print(stage.next_steps())
    return tracker.tally.all_well
