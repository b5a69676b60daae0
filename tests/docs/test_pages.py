"""Every block of every page runs, and prints the output that the page shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import Page

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", ROOT / "hostspec/README.md", *ROOT.glob("docs/**/*.md"))
    if "_build" not in path.parts
)
EMBEDDING = ("README.md", "hostspec/README.md", "docs/embed.md")
CLIENTS = ("alerthost-client/README.md", "docs/client.md")
INTEGRATIONS = {
    "docs/exec.md": {"shop/backup": "resolved"},
    "docs/integrations/asgi.md": {"shop/LookupError at /orders/{number:int}": "triggered"},
    "docs/integrations/celery.md": {"celery/tasks.pay": "resolved"},
    "docs/integrations/apscheduler.md": {"apscheduler/report": "resolved"},
    "docs/integrations/django.md": {"shop/LookupError at orders/<int:number>/": "triggered"},
    "docs/integrations/flask.md": {"shop/LookupError at /orders/<int:number>": "triggered"},
    "docs/integrations/pytest.md": {"shop/nightly": "resolved"},
    "docs/integrations/rq.md": {"rq/jobs.pay": "resolved"},
    "docs/integrations/wsgi.md": {"shop/LookupError in shop.price": "triggered"},
}
CONFIGURED = ("README.md", "docs/operate.md")
LONG = {*INTEGRATIONS, "docs/operate.md"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.proof) if name in LONG else name for name in PAGES],
)
def test_every_block_of_a_page_runs(name: str, page: Page) -> None:
    fences = re.findall(r"^```[a-z]+$", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
    if name in INTEGRATIONS:
        page.integrate(_text(name))
    assert page.run(ROOT / name) == len(fences)
    if name in INTEGRATIONS:
        expected = INTEGRATIONS[name]
        page.fake.wait_for(
            lambda fake: {each.dedup_key: each.state for each in fake.incidents} == expected, 60
        )


@pytest.mark.parametrize(
    ("block", "reported"),
    [
        ("```python\nprint(1)\n```\n\n```text\n2\n```\n", "printed was\n1"),
        ("```python\nraise OSError\n```\n", ""),
        ("```console\n$ echo one\ntwo\n```\n", "printed was\none"),
        ("```console\n$ echo one; exit 3\n```\n", "ended early"),
        ("```console\n$ echo one; echo two >&2\ntwo\nthree\n```\n", "printed was\none"),
        ("```console\n$ echo one; echo two >&2\none\n```\n", "printed was\none\ntwo"),
        ("```console\n$ (exit 3)\n$ true\n```\n", "exits with 3"),
        ("```console\n$ make coffee\n```\n", "no target coffee"),
        ("```console\n$ pip install './hostspec[sugar]'\n```\n", "sugar"),
        ("```console\n$ pip install coffee\n```\n", "coffee"),
        ('```toml\n[plugins]\nenable = ["pagerduty"]\n```\n', "enable"),
        ('```json\n{"key": "a", "severety": "error"}\n```\n', ""),
        ("```crontab\n0 3 * * *  date +%F\n```\n", "cron ends the command"),
        ("```crontab\n0 3 * * *  date\n```\n", "date"),
        ("```crontab\n0 3 * * *  alerthost heartbeat a\n```\n", "alerthost heartbeat a"),
        ("```crontab\nA=3\n0 3 * * *  exit $A\n```\n", "exit $A"),
        ("```ruby\nputs 1\n```\n", "ruby"),
    ],
)
def test_wrong_block_is_found(block: str, reported: str, page: Page, tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(block, encoding="utf-8")
    with pytest.raises(Exception) as caught:  # noqa: PT011 -- whichever it is, it fails the test
        page.run(path)
    assert reported in str(caught.value)


def test_lines_of_standard_error_are_compared_in_order(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    command = "$ echo a; echo c; echo b >&2; echo d >&2"
    path.write_text(f"```console\n{command}\na\nb\nc\nd\n```\n", encoding="utf-8")
    assert page.run(path) == 1


def test_pages_show_the_same_example_of_embedding() -> None:
    shown = {name: _first_block(name, "python") for name in EMBEDDING}
    assert len(set(shown.values())) == 1, shown


def test_pages_show_the_same_example_of_the_client() -> None:
    shown = {name: _first_block(name, "python") for name in CLIENTS}
    assert len(set(shown.values())) == 1, shown


def test_pages_show_the_same_configuration() -> None:
    shown = {name: _first_block(name, "toml") for name in CONFIGURED}
    assert len(set(shown.values())) == 1, shown


def test_layout_page_names_existing_files() -> None:
    layout = re.search(r"## Layout\n\n```text\n(.*?)```", _text("README.md"), re.DOTALL)
    assert layout
    named = [word for line in layout[1].splitlines() for word in re.findall(r"\S+/(?=\s|$)", line)]
    assert len(named) >= 7
    assert [path for path in named if not (ROOT / path).is_dir()] == []


def test_links_between_pages_are_valid() -> None:
    broken = [
        (name, target)
        for name in PAGES
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", _text(name))
        if not ((ROOT / name).parent / target).exists()
    ]
    assert broken == []


def _first_block(name: str, language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", _text(name), re.DOTALL)
    assert found
    return found[1]


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")
