"""A plugin of pytest: ``--alert KEY`` fires when the run fails, and resolves when it passes."""

from __future__ import annotations

import pytest

from alerthost_client.alert import ClientError
from alerthost_client.client import Client

MOST_FAILURES = 20
"""Failures whose texts are in the alert."""

LONGEST_FAILURE = 5000
"""Characters of the end of one text."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.getgroup("alerthost").addoption(
        "--alert",
        metavar="KEY",
        help="fire the alert KEY when the run fails, and resolve it when it passes",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Watch the run, unless this is a worker of pytest-xdist, whose controller does.

    Raises:
        pytest.UsageError: the settings of the client are invalid.
    """
    key = config.getoption("alert")
    if not key or hasattr(config, "workerinput"):
        return
    try:
        client = Client.from_env()
    except ClientError as error:
        raise pytest.UsageError(str(error)) from None
    config.pluginmanager.register(_Run(key, client), "alerthost_run")


class _Run:
    """One run of the tests.

    Args:
        key: of its alert.
        client: hands it over.
    """

    def __init__(self, key: str, client: Client) -> None:
        self._key = key
        self._client = client
        self._passed = 0
        self._failed: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test, also one of a worker."""
        self._passed += report.passed and report.when == "call"
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a file that cannot be collected."""
        self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.failed:
            is_shown = len(self._failed) < MOST_FAILURES
            self._failed[report.nodeid] = report.longreprtext[-LONGEST_FAILURE:] if is_shown else ""

    # last: other plugins, such as pytest-cov, may fail the run
    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Hand the result over, within 5 s."""
        code = int(session.exitstatus)
        if code == pytest.ExitCode.OK:
            self._client.resolve(self._key)
        else:
            counts = f"{len(self._failed)} failed, {self._passed} passed"
            details = dict(list(self._failed.items())[:MOST_FAILURES])
            self._client.fire(
                self._key,
                f"{self._key}: {counts if self._failed else _named(code)}",
                details={"exit_code": code, **details},
            )
        self._client.close()


def _named(code: int) -> str:
    """Return the reason of an exit code, as pytest names it."""
    try:
        return pytest.ExitCode(code).name.replace("_", " ").lower()
    except ValueError:  # of a plugin
        return f"exit code {code}"
