"""What importing loads, and the import of packages that are not installed."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import alerthost
import hostspec
import pagerduty_plugin
from alerthost.store.database import Database
from pagerduty_plugin.testing import FakePagerDuty

from .wire import KEY

ROOT = Path(__file__).parents[2]
STORE = {"alembic", "cryptography", "sqlalchemy"}
SERVING = {"prometheus_client", "starlette", "uvicorn"}
NEVER = STORE | SERVING | {"click", "jinja2", "rich"}


UNUSED = NEVER - {"sqlalchemy"} | {
    "hostspec.inprocess",
    "pagerduty_plugin.installation.discovery",
    "pagerduty_plugin.installation.install_flow",
    "psycopg",
    "re2",
    "sqlalchemy.dialects.postgresql",
}
"""Modules of no use to an engine on SQLite with neither templates nor regular expressions."""

EMBEDDED = """
import sys
from pathlib import Path
from alerthost.config.configuration import load
from alerthost.config.document import ConfigFile
from alerthost.config.store import open_engine
from hostspec import Alert

source = ConfigFile.read(Path("alerthost.toml"))
with open_engine(source, load(source, ready=True)) as engine, engine:
    started = set(sys.modules)
    for status in ("firing", "resolved"):
        alert = Alert("db-1/disk", "Disk full on db-1", status=status)
        engine.wait([engine.accept(alert)], 60)
"""


def run(program: str, folder: str | Path = ROOT.anchor) -> set[str]:
    """Run a program in a new interpreter, and return the set of text that it prints as JSON."""
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=True,
        cwd=folder,
        text=True,
    )
    return set(json.loads(ran.stdout))


def modules_after(program: str, folder: str | Path = ROOT.anchor) -> set[str]:
    """Run a program in a new interpreter, and return the modules that it imported."""
    return run(program + "\nimport json, sys; print(json.dumps(sorted(sys.modules)))", folder)


def test_the_contract_imports_little() -> None:
    modules = modules_after("import hostspec")
    assert "hostspec" in modules
    assert not modules & (NEVER | {"requests", "urllib3", "pagerduty_plugin", "asyncio"})


def test_loading_the_plugin_imports_little() -> None:
    modules = modules_after("from hostspec.plugins import load; load(['pagerduty'])")
    assert "pagerduty_plugin" in modules
    assert not modules & (NEVER | {"requests", "urllib3", "asyncio"})


def test_only_the_first_send_imports_requests() -> None:
    program = """
import sys
from hostspec import Alert, SendContext
from hostspec.plugins import load
plugins = load(["pagerduty"])
installation = plugins.installation("pagerduty", "acme", {
    "base_url": "http://127.0.0.1:1",
    "services": [{"name": "a", "integration_key": "0" * 32}],
})
use = plugins.rule_action("pagerduty.trigger", installation, {"services": ["a"]})
(delivery,) = use.action.plan(Alert("k", "Down"), use.settings, installation)
use.action.preview(delivery, installation, SendContext())
assert "requests" not in sys.modules
outcome = use.action.send(delivery, installation, SendContext())
assert outcome.kind == "unreachable", outcome
"""
    modules = modules_after(program)
    assert "requests" in modules
    assert not modules & NEVER


def test_the_command_line_imports_store_and_server_lazily() -> None:
    program = "import alerthost.cli.main, alerthost.store.sealing"
    assert not modules_after(program) & (STORE | SERVING)


@pytest.fixture
def embedding(tmp_path: Path, https_fake: FakePagerDuty, trusting: dict[str, str]) -> Path:
    """Return a folder with a configuration file and a database of this version."""
    (tmp_path / "alerthost.toml").write_text(f"""\
[plugins]
enabled = ["pagerduty"]

[[installations]]
name = "acme"
provider = "pagerduty"
settings.base_url = "{https_fake.url}"
settings.services = [{{ name = "checkout", integration_key = "{KEY}" }}]
settings.network.ca_bundle = "{trusting["REQUESTS_CA_BUNDLE"]}"

[[rules]]
name = "Pages"
match = ["severity=error"]
actions = [{{ use = "pagerduty.trigger", installation = "acme", services = ["checkout"] }}]
""")
    with Database("sqlite:///alerthost.db", tmp_path) as database:
        database.migrate()
    return tmp_path


def test_an_engine_from_a_file_imports_no_library_that_it_does_not_use(embedding: Path) -> None:
    modules = modules_after(EMBEDDED, embedding)
    assert {"alerthost", "requests", "sqlalchemy"} <= modules
    assert not modules & UNUSED


def test_a_page_waits_for_no_import(embedding: Path, https_fake: FakePagerDuty) -> None:
    """A later import would delay the page, and lose it if the package was removed meanwhile."""
    report = "import json; print(json.dumps([*sys.modules.keys() - started]))"
    later = run(EMBEDDED + report, embedding)
    assert [each.state for each in https_fake.incidents] == ["resolved"]
    assert {name.partition(".")[0] for name in later} <= sys.stdlib_module_names


def test_a_damaged_package_is_found_before_a_page_needs_it(embedding: Path) -> None:
    (embedding / "requests.py").write_text("from requests_parts import sessions")
    ran = subprocess.run(
        [sys.executable, "-m", "alerthost", "check"],
        capture_output=True,
        check=False,
        cwd=embedding,
        text=True,
    )
    assert ran.returncode == 2
    assert ran.stderr == (
        "alerthost.toml, line 7: installation 'acme': settings: cannot send: No module named "
        "'requests_parts'; install pagerduty-plugin again\n"
    )


def test_the_root_imports_installed_packages() -> None:
    program = "import hostspec, hostspec.plugins; print(hostspec.Alert('k').key, hostspec.__file__)"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, cwd=ROOT, text=True
    )
    key, path = ran.stdout.split()
    assert key == "k"
    assert Path(path).parent != ROOT / "hostspec"


def test_no_message_uses_the_class_of_an_exception() -> None:
    """A reason describes the fault in words, or names its file and line, never a class.

    The conformance kit speaks to the author of a plugin, and `describe_error` logs at DEBUG.
    """
    roots = [
        Path(module.__file__ or "").parent for module in (pagerduty_plugin, hostspec, alerthost)
    ]
    sources = [path for root in roots for path in root.rglob("*.py") if "testing" not in path.parts]
    assert len(sources) > 100
    named = {
        f"{source.name}:{line}"
        for source in sources
        if source.name != "errors.py"
        for line in exceptions_named(source.read_text(encoding="utf-8"))
    }
    assert named == set()


@pytest.mark.parametrize(
    "code",
    [
        "type(error).__name__",
        "error.__class__",
        "repr(error)",
        "f'{error!r}'",
        "type(error.reason)",
    ],
)
def test_a_class_of_an_exception_in_code_is_detected(code: str) -> None:
    caught = f"try: pass\nexcept OSError as error:\n    said = {code}\n"
    given = f"def said(error: BaseException | None) -> object:\n    return {code}\n"

    assert list(exceptions_named(caught)) == [3]
    assert list(exceptions_named(given)) == [2]
    assert list(exceptions_named(given.replace("BaseException | None", "int"))) == []


def exceptions_named(code: str) -> Iterator[int]:
    """Return the lines that use the class of an exception, or its ``repr``."""
    for scope in ast.walk(ast.parse(code)):
        match scope:
            case ast.ExceptHandler(name=str(name)):
                names = {name}
            case ast.FunctionDef():
                every = (*scope.args.args, *scope.args.kwonlyargs)
                names = {each.arg for each in every if _is_exception(each.annotation)}
            case _:
                continue
        for node in ast.walk(scope):
            match node:
                case (
                    ast.Call(func=ast.Name(id="type"), args=[value])
                    | ast.Call(func=ast.Name(id="repr"), args=[ast.Name() as value])
                    | ast.Attribute(attr="__class__", value=value)
                    | ast.FormattedValue(conversion=114, value=ast.Name() as value)
                ) if _root(value) in names:
                    yield node.lineno


def _is_exception(annotation: ast.expr | None) -> bool:
    return annotation is not None and bool(re.search("Error|Exception", ast.unparse(annotation)))


def _root(value: ast.expr) -> str:
    return ast.unparse(value).partition(".")[0]
