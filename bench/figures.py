"""The figures of a measurement, and their table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence

import attrs
from processes import Role


@attrs.frozen
class Figure:
    """A number that was measured, and its goal.

    Attributes:
        name: with its unit.
        baseline: the same number of a contender, or of another state, in the same run; None
            without one.
        at_least: the goal of the ratio of both, or of the number alone without a baseline.
        at_most: the same, where less is better.
    """

    name: str
    measured: float
    baseline: float | None = None
    at_least: float | None = None
    at_most: float | None = None

    def row(self) -> tuple[str, ...]:
        """Return the cells of its row."""
        ratio = None if self.baseline is None else self.measured / self.baseline
        reached = self.measured if ratio is None else ratio
        goal, met = "", True
        if self.at_least is not None:
            goal, met = f"≥ {_number(self.at_least)}", reached >= self.at_least
        if self.at_most is not None:
            goal, met = f"≤ {_number(self.at_most)}", reached <= self.at_most
        return (
            self.name,
            _number(self.measured),
            _number(self.baseline),
            "" if ratio is None else f"{ratio:.2f}",
            goal,
            ("yes" if met else "NO") if goal else "",
        )


HEAD = ("figure", "measured", "baseline", "ratio", "goal", "met")

Measure = Callable[[bool], Iterable[Figure]]
"""Measures at full size, or quickly: to see that it works."""


def main(measure: Measure, *roles: Role) -> None:
    """Run one program, and print its figures; or run a role of it in this process."""
    by_name = {role.__name__: role for role in roles}
    if len(sys.argv) > 1 and sys.argv[1] in by_name:
        by_name[sys.argv[1]](*sys.argv[2:])
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a small size, for tests")
    show(measure(parser.parse_args().quick))


def show(figures: Iterable[Figure]) -> None:
    table(HEAD, [each.row() for each in figures])


def _number(number: float | None) -> str:
    if number is None:
        return ""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, ["-" * width for width in widths], *rows):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  ".join(cells).rstrip(), flush=True)
