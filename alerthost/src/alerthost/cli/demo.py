"""``alerthost demo``: a provider's demonstration, shown as an operator would see it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from alerthost.cli import session
from alerthost.cli.commands import TIMEOUT
from alerthost.cli.progress import summary
from alerthost.cli.screen import Screen
from alerthost.cli.send import Sending
from alerthost.config.configuration import build
from alerthost.config.document import ConfigFile
from alerthost.ingest.json_alerts import parse_alert
from hostspec.demo import Demo, Table
from hostspec.normalisation import Repair
from hostspec.plugins.loading import installed, survey


def offered() -> dict[str, Demo]:
    """Find the demonstrations of all installed plugins, by provider."""
    providers = survey(installed()).providers
    found = {name: provider.demo() for name, provider in sorted(providers.items())}
    return {name: demonstration for name, demonstration in found.items() if demonstration}


def run(demonstration: Demo, screen: Screen) -> bool:
    """Run a demonstration, on a store that is gone afterwards; say whether all was delivered."""
    with demonstration as stage, tempfile.TemporaryDirectory(prefix="alerthost-") as folder:
        texts = stage.alerts()
        document = stage.configuration()
        source = ConfigFile(str(Path(folder, "alerthost.toml")), "", document)
        repairs: list[tuple[str, ...]] = []

        def repaired(place: str, repair: Repair) -> None:
            repairs.append((place.removeprefix("line "), repair.field, repair.reason))

        screen.say(stage.introduction(), "bold")
        screen.say()
        with (
            session.begun(source, build(document), screen) as begun,
            screen.progress("sending", len(texts)) as progress,
        ):
            following = begun.following(advance=progress.advance, repaired=repaired)
            given = (parse_alert(f"line {number}", text) for number, text in enumerate(texts, 1))
            Sending(begun.engine, following, begun.interrupts).run(given, TIMEOUT)
            begun.finish(following)
        screen.say()
        screen.say(summary(following.tally), "bold")
        screen.say()
        screen.table(stage.table())
        screen.table(Table("Repairs made on the way", ("line", "field", "what"), tuple(repairs)))
        screen.say(stage.next_steps())
    return following.tally.all_well
