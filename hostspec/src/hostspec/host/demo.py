"""``alerthost demo``: a provider's demonstration, shown as an operator would see it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hostspec.demonstration import Demonstration, Table
from hostspec.host import work
from hostspec.host.commands import TIMEOUT
from hostspec.host.configuration import build
from hostspec.host.following import summary
from hostspec.host.screen import Screen
from hostspec.host.send import Sending
from hostspec.host.source import Source
from hostspec.host.statements import statement
from hostspec.kernel.loading import installed, survey
from hostspec.normalise import Repair


def offered() -> dict[str, Demonstration]:
    """Find the demonstrations of all installed plugins, by provider."""
    providers = survey(installed()).providers
    found = {name: provider.demonstration() for name, provider in sorted(providers.items())}
    return {name: demonstration for name, demonstration in found.items() if demonstration}


def run(demonstration: Demonstration, screen: Screen) -> bool:
    """Run a demonstration, on a store that is gone afterwards; say whether all was delivered."""
    with demonstration as stage, tempfile.TemporaryDirectory(prefix="alerthost-") as folder:
        texts = stage.alerts()
        document = stage.configuration()
        source = Source(str(Path(folder, "alerthost.toml")), "", document)
        repairs: list[tuple[str, ...]] = []

        def repaired(place: str, repair: Repair) -> None:
            repairs.append((place.removeprefix("line "), repair.field, repair.reason))

        screen.say(stage.introduction(), "bold")
        screen.say()
        with (
            work.begun(source, build(document), screen) as begun,
            screen.progress("sending", len(texts)) as progress,
        ):
            following = begun.following(advance=progress.advance, repaired=repaired)
            given = (statement(f"line {number}", text) for number, text in enumerate(texts, 1))
            Sending(begun.engine, following, begun.interrupts).run(given, TIMEOUT)
            begun.finish(following)
        screen.say()
        screen.say(summary(following.tally), "bold")
        screen.say()
        screen.table(stage.table())
        screen.table(Table("Repairs made on the way", ("line", "field", "what"), tuple(repairs)))
        screen.say(stage.next_steps())
    return following.tally.all_well
