"""``alerthost demo``: a provider's demonstration, shown as an operator would see it."""

from __future__ import annotations

from hostspec.demonstration import Demonstration, Table
from hostspec.host.configuration import build
from hostspec.host.screen import Screen
from hostspec.host.send import Sending, summary
from hostspec.host.statements import statement
from hostspec.kernel.loading import installed, survey


def offered() -> dict[str, Demonstration]:
    """Find the demonstrations of all installed plugins, by provider."""
    providers = survey(installed()).providers
    found = {name: provider.demonstration() for name, provider in sorted(providers.items())}
    return {name: demonstration for name, demonstration in found.items() if demonstration}


def run(demonstration: Demonstration, screen: Screen) -> bool:
    """Run a demonstration; say whether everything was delivered."""
    with demonstration as stage:
        texts = stage.alerts()
        sending = Sending(build(stage.configuration()).host(), screen)
        repairs: list[tuple[str, ...]] = []
        screen.say(stage.introduction(), "bold")
        screen.say()
        with screen.progress("sending", len(texts)) as progress:
            for number, text in enumerate(texts, start=1):
                made = sending.send(statement(f"line {number}", text))
                repairs += [(str(number), repair.field, repair.reason) for repair in made]
                progress.advance()
        screen.say()
        screen.say(summary(sending.tally), "bold")
        screen.say()
        screen.table(stage.table())
        screen.table(Table("Repairs made on the way", ("line", "field", "what"), tuple(repairs)))
        screen.say(stage.next_steps())
    return sending.tally.all_well
