"""Checks blocks of a page that cannot run in a test."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

from click.testing import CliRunner

from alerthost.cli.main import main
from alerthost.config import configuration
from alerthost.config.document import ConfigFile

ROOT = Path(__file__).parents[2]


def load_configuration(path: Path) -> None:
    """Check that a file is valid, and has a rule."""
    assert configuration.load(ConfigFile.read(path)).rules


def check_arguments(program: str, arguments: list[str]) -> None:
    """Check that a program is alerthost, and accepts these arguments."""
    assert program == "alerthost"
    ran = CliRunner().invoke(main, [*arguments, "--help"])
    assert ran.exit_code == 0, ran.output


def check_target(target: str) -> None:
    """Check that the Makefile has a target."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), f"no target {target}"


def check_requirements(requirements: list[str]) -> None:
    """Check that pip gets folders of this project that have the extra, or what the tests use."""
    assert requirements
    for requirement in requirements:
        if not requirement.startswith("."):
            assert metadata.distribution(requirement)
            continue
        folder, _, extra = requirement.rstrip("]").partition("[")
        path = ROOT / folder / "pyproject.toml"
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        assert not extra or extra in project["optional-dependencies"], requirement
