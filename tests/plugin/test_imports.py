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

ROOT = Path(__file__).parents[2]
STORE = {"alembic", "cryptography", "sqlalchemy"}
SERVING = {"prometheus_client", "starlette", "uvicorn"}
NEVER = STORE | SERVING | {"click", "jinja2", "rich"}


def modules_after(program: str, *options: str) -> set[str]:
    """Run a program in a new interpreter, and return the top-level modules that it imported."""
    report = "\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run(
        [sys.executable, *options, "-c", program + report],
        capture_output=True,
        check=True,
        cwd=ROOT.anchor,
        text=True,
    )
    return {name.partition(".")[0] for name in json.loads(ran.stdout)}


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


def test_a_database_of_this_version_is_read_without_alembic(tmp_path: Path) -> None:
    url = "sqlite:///store.db"
    with Database(url, tmp_path) as database:
        database.migrate()
    program = f"""
from pathlib import Path
from alerthost.store.database import Database
with Database({url!r}, Path({str(tmp_path)!r})) as database, database.begin(): pass
"""
    modules = modules_after(program)
    assert "sqlalchemy" in modules
    assert "alembic" not in modules


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
