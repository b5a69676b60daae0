"""Rules and matchers that match no alert of a sample: what a typing error looks like."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from alerthost.config.configuration import Matching
from alerthost.config.matchers import Matcher
from hostspec.alert import Alert
from hostspec.plugins import Rule


def unmatched(rules: Sequence[Rule], alerts: Iterable[Alert], where: str) -> Sequence[str]:
    """Name the rules that match none of some alerts, and the matchers that are why.

    Args:
        rules: of a configuration.
        alerts: the sample; without any, nothing is known of the rules.
        where: the place of the sample, for the messages.
    """
    matched: set[int] = set()
    holding: set[tuple[int, int]] = set()
    count = 0
    for alert in alerts:
        count += 1
        for index, rule in enumerate(rules):
            holds = [each.matches(alert) for each in _matchers(rule)]
            holding |= {(index, number) for number, held in enumerate(holds) if held}
            if all(holds):
                matched.add(index)
    if not count:
        return []
    return [
        _note(rule, [str(m) for n, m in enumerate(_matchers(rule)) if (index, n) not in holding])
        + f" of {count} {where}"
        for index, rule in enumerate(rules)
        if index not in matched
    ]


def _matchers(rule: Rule) -> Sequence[Matcher]:
    return rule.matches.matchers if isinstance(rule.matches, Matching) else ()


def _note(rule: Rule, never: Sequence[str]) -> str:
    if not never:
        return f"rule {rule.name!r} matches none"
    matchers = "the matcher" if len(never) == 1 else "the matchers"
    verb = "matches" if len(never) == 1 else "match"
    return f"rule {rule.name!r}: {matchers} {' and '.join(never)} {verb} none"
