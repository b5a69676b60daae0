"""The wheels hold all files of the source, and the tests for them run on them."""

from __future__ import annotations

import configparser
import email
import email.message
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints, distribution, entry_points
from pathlib import Path

import attrs
import pytest
from shared import once, unmeasured

import alerthost
import alerthost_client
import hostspec
import pagerduty_plugin

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "build" / "wheel-site"
PROJECTS = {
    "alerthost": ROOT / "alerthost",
    "alerthost_client": ROOT / "alerthost-client",
    "hostspec": ROOT / "hostspec",
    "pagerduty_plugin": ROOT,
}

PACKAGES = (alerthost, alerthost_client, hostspec, pagerduty_plugin)

ON_WHEELS = "HOSTSPEC_WHEELS" in os.environ
TESTED = SITE if ON_WHEELS else ROOT
"""Where the tested code lies: in the wheels that `run.py` installed, or in the source."""
METADATA = SITE if ON_WHEELS else Path(sys.prefix)


@attrs.frozen
class Wheel:
    """A wheel that was built from the source."""

    names: frozenset[str]
    metadata: email.message.Message
    entry_points: str

    @property
    def dependencies(self) -> dict[str, str]:
        """Required distributions with their versions, but for extras."""
        lines = self.metadata.get_all("Requires-Dist") or []
        required = [str(line) for line in lines if "extra ==" not in line]
        return {re.split(r"[<>=!~ ]", line)[0]: line for line in required}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Wheel]:
    """Build the wheels, by package."""
    folder = once(tmp_path_factory, "wheels-of-all", build)
    return {name: read(folder / name) for name in PROJECTS}


def build(folder: Path) -> None:
    for name, project in PROJECTS.items():
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / name],
            cwd=project,
            env=unmeasured(),
            check=True,
            capture_output=True,
        )


def read(folder: Path) -> Wheel:
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        (info,) = {name.split("/")[0] for name in names if ".dist-info/" in name}
        return Wheel(
            frozenset(names),
            email.message_from_bytes(archive.read(f"{info}/METADATA")),
            archive.read(f"{info}/entry_points.txt").decode()
            if f"{info}/entry_points.txt" in names
            else "",
        )


@pytest.mark.parametrize("package", PROJECTS)
def test_is_typed_and_licensed(wheels: dict[str, Wheel], package: str) -> None:
    wheel = wheels[package]

    assert f"{package}/py.typed" in wheel.names
    assert any(name.endswith("licenses/LICENSE") for name in wheel.names)
    assert wheel.metadata["License-Expression"] == "MIT"
    oldest = "3.9" if package == "alerthost_client" else "3.11"
    assert wheel.metadata["Requires-Python"] == f">={oldest}"
    assert wheel.metadata.get_payload()


@pytest.mark.parametrize("package", PROJECTS)
def test_holds_the_package_and_nothing_else(wheels: dict[str, Wheel], package: str) -> None:
    """All of its source files, and no tests."""
    source = next(PROJECTS[package].glob(f"src/{package}"))
    expected = {
        f"{package}/{path.relative_to(source).as_posix()}"
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    held = {name for name in wheels[package].names if ".dist-info/" not in name}

    assert held == expected


def test_says_what_it_needs(wheels: dict[str, Wheel]) -> None:
    contract, host, plugin = wheels["hostspec"], wheels["alerthost"], wheels["pagerduty_plugin"]

    assert set(contract.dependencies) == {"pluggy", "attrs", "cattrs"}
    assert set(plugin.dependencies) == {"hostspec", "requests", "urllib3", "attrs"}
    assert sorted(contract.dependencies["pluggy"].removeprefix("pluggy").split(",")) == [
        "<2",
        ">=1.7",
    ]
    assert set(contract.metadata.get_all("Provides-Extra") or []) == {"keyring", "testing"}
    assert "hostspec" in host.dependencies
    assert wheels["alerthost_client"].dependencies == {}
    assert set(host.metadata.get_all("Provides-Extra") or []) == {"keyring", "postgresql"}


def test_each_distribution_has_its_own_entry_points_only(wheels: dict[str, Wheel]) -> None:
    plugin = entry_points_of(wheels["pagerduty_plugin"])

    assert [(point.group, point.name) for point in plugin.select(group="hostspec")] == [
        ("hostspec", "pagerduty")
    ]
    assert plugin.select(group="console_scripts").names == {"fake-pagerduty"}
    assert entry_points_of(wheels["alerthost"]).names == {"alerthost"}
    assert entry_points_of(wheels["hostspec"]).names == set()
    assert entry_points_of(wheels["alerthost_client"]).names == {"alerthost-exec", "alerthost"}


def entry_points_of(wheel: Wheel) -> EntryPoints:
    sections = configparser.ConfigParser(delimiters="=")
    sections.read_string(wheel.entry_points)
    return EntryPoints(
        EntryPoint(name, value, group)
        for group in sections.sections()
        for name, value in sections.items(group)
    )


def places() -> Iterator[str]:
    """Return the places of the code, in this process and in one that it starts."""
    yield from (str(package.__file__) for package in PACKAGES)
    code = (
        "import alerthost, alerthost_client, hostspec, json, pagerduty_plugin; "
        "packages = (alerthost, alerthost_client, hostspec, pagerduty_plugin); "
        "print(json.dumps([package.__file__ for package in packages]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd="/", capture_output=True, text=True, check=True
    )
    yield from json.loads(run.stdout)


def test_the_code_is_that_of_the_run() -> None:
    assert [place for place in places() if not Path(place).is_relative_to(TESTED)] == []
    assert [place for place in places() if "site-packages" in place] == []


@pytest.mark.parametrize("name", ["alerthost", "alerthost-client", "hostspec", "pagerduty-plugin"])
def test_the_metadata_is_that_of_the_run(name: str) -> None:
    assert Path(str(distribution(name).locate_file(""))).is_relative_to(METADATA)


def test_the_plugin_is_found_once() -> None:
    (point,) = entry_points(group="hostspec", name="pagerduty")

    assert point.dist is not None
    assert Path(str(point.dist.locate_file(""))).is_relative_to(METADATA)
