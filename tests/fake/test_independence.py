"""The fake shares no code with the sender, so that mistakes cannot cancel out."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from pagerduty_plugin import testing

FOLDER = Path(testing.__file__).parent
PACKAGE = "pagerduty_plugin.testing"


def imports(module: Path) -> set[str]:
    """Return the names that a module imports, at its top or elsewhere."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def reachable() -> set[Path]:
    """Return the modules that server, command and fixtures of the fake import."""
    found: set[Path] = set()
    ahead = {FOLDER / f"{name}.py" for name in ("__init__", "cli", "fixtures")}
    while ahead:
        module = ahead.pop()
        found.add(module)
        inside = (name for name in imports(module) if name.startswith(f"{PACKAGE}."))
        paths = {FOLDER / f"{name.split('.')[2]}.py" for name in inside}
        ahead |= {path for path in paths if path.exists()} - found
    return found


@pytest.mark.parametrize("module", sorted(reachable()), ids=lambda module: module.stem)
def test_a_module_imports_only_stdlib_attrs_and_the_fake(
    module: Path,
) -> None:
    """Only the fixtures need pytest."""
    allowed = {"attrs", *sys.stdlib_module_names}
    allowed |= {"pytest"} if module.stem == "fixtures" else set()
    foreign = {
        name
        for name in imports(module)
        if name.split(".")[0] not in allowed and not f"{name}.".startswith(f"{PACKAGE}.")
    }

    assert foreign == set()


def test_every_module_of_the_fake_is_checked() -> None:
    """The modules are found by their imports."""
    assert {"account", "backend", "rules", "server"} < {module.stem for module in reachable()}
