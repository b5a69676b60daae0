"""Every row of the page on limits names existing tests, or the reason why it has no test."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAD = "| PagerDuty | this plugin | proof |"
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
UNPROVEN = re.compile(r"not proven: \S.{20,}")


def rows(text: str) -> list[tuple[str, str, str]]:
    """Return the cells of the rows of every table of the page."""
    found = []
    for table in text.split(HEAD)[1:]:
        for line in table.partition("\n\n")[0].splitlines()[2:]:
            rule, done, proof = (cell.strip() for cell in line.strip("|").split(" | "))
            found.append((rule, done, proof))
    return found


def faults(proof: str) -> list[str]:
    """Return the faults of a cell of tests: each part of it must name an existing test."""
    if UNPROVEN.fullmatch(proof):
        return []
    named = [(each, TEST.fullmatch(each)) for each in proof.split(", ")]
    return [text for text, test in named if test is None or test[2] not in known_tests(test[1])]


@cache
def known_tests(path: str) -> frozenset[str]:
    """Collect the tests of a file, without running any of it."""
    file = ROOT / path
    tree = ast.parse(file.read_text(encoding="utf-8") if file.exists() else "")
    scopes = [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))]
    functions = [node for scope in scopes for node in scope.body]
    return frozenset(
        node.name
        for node in functions
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


def page() -> str:
    return (ROOT / "docs/limits.md").read_text(encoding="utf-8")


def test_every_limit_has_tests_or_a_reason() -> None:
    wrong = {rule: faults(proof) for rule, _, proof in rows(page())}
    assert {rule: found for rule, found in wrong.items() if found} == {}


def test_every_line_of_the_table_is_a_limit() -> None:
    """Otherwise the test above would skip it."""
    lines = [line for line in page().splitlines() if line.startswith("|")]
    heads = lines.count(HEAD)
    assert heads == page().count("|---|---|---|") > 1
    assert len(rows(page())) == len(lines) - 2 * heads
    assert all(all(row) for row in rows(page()))


def test_limits_are_unique() -> None:
    rules = [rule for rule, _, _ in rows(page())]
    assert len(set(rules)) == len(rules)


@pytest.mark.parametrize(
    ("proof", "wrong"),
    [
        ("`tests/docs/test_limits.py::test_limits_are_unique`", 0),
        ("`tests/inprocess/test_host.py::test_pager_is_triggered_again`", 0),  # in a class
        ("not proven: only PagerDuty itself could prove it", 0),
        ("not proven", 1),
        ("not proven: ", 1),
        ("", 1),
        ("`tests/docs/test_limits.py`", 1),
        ("`tests/docs/test_limits.py::rows`", 1),
        ("`tests/docs/test_limits.py::test_never_written`", 1),
        ("`tests/docs/test_never_written.py::test_x`", 1),
        ("`tests/docs/test_limits.py::test_limits_are_unique`, and more", 1),
    ],
)
def test_missing_tests_of_a_limit_are_found(proof: str, wrong: int) -> None:
    assert len(faults(proof)) == wrong
