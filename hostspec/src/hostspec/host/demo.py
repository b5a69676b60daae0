"""``alerthost demo``: a provider's demonstration, shown as an operator would see it."""

from __future__ import annotations

from hostspec.demonstration import Demonstration
from hostspec.host.configuration import build
from hostspec.host.screen import Screen
from hostspec.host.send import send, summary
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
        host = build(stage.configuration()).host()
        texts = stage.alerts()
        screen.say(stage.introduction(), "bold")
        screen.say()
        with screen.progress("sending", len(texts)) as progress:
            read = (statement(f"line {n}", text) for n, text in enumerate(texts, start=1))
            tally = send(host, read, screen, progress)
        screen.say(summary(tally), "bold")
        screen.say()
        screen.table(stage.table())
        screen.say()
        screen.say(stage.next_steps())
    return tally.all_well
