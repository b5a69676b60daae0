"""The listener and the notifier for Airflow, without it; `test_airflow_itself` runs it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pluggy
import pytest
from scripted import Scripted

from alerthost_client import Client

Load = Callable[[str], Any]
Listen = Callable[..., Any]

hookspec = pluggy.HookspecMarker("airflow")


class Specs:
    """The hooks of Airflow that the listener implements."""

    @hookspec
    def on_task_instance_failed(self, previous_state: Any, task_instance: Any, error: Any) -> None:
        pass

    @hookspec
    def on_dag_run_success(self, dag_run: Any, msg: str) -> None:
        pass

    @hookspec
    def on_dag_run_failed(self, dag_run: Any, msg: str) -> None:
        pass


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Return a function that imports a module of the integration."""
    listeners, sdk = ModuleType("airflow.listeners"), ModuleType("airflow.sdk")
    listeners.hookimpl = pluggy.HookimplMarker("airflow")
    sdk.BaseNotifier = object
    for module in (ModuleType("airflow"), listeners, sdk):
        monkeypatch.setitem(sys.modules, module.__name__, module)

    def load(name: str) -> Any:
        full = f"alerthost_client.integrations.{name}"
        monkeypatch.delitem(sys.modules, full, raising=False)
        return importlib.import_module(full)

    return load


@pytest.fixture(params=["with a spool", "in memory"])
def client(request: pytest.FixtureRequest, server: Scripted, tmp_path: Path) -> Iterator[Client]:
    spool = tmp_path if request.param == "with a spool" else None
    with Client(server.url, spool=spool) as client:
        yield client


@pytest.fixture
def listen(load: Load, client: Client) -> Listen:
    """Return a function that registers a listener with options; it returns the hooks."""

    def listen(**options: Any) -> Any:
        manager = pluggy.PluginManager("airflow")
        manager.add_hookspecs(Specs)
        manager.register(load("airflow").AlertListener(client, **options))
        manager.check_pending()
        return manager.hook

    return listen


def run(dag: str = "shop", number: int = 1, **fields: Any) -> Any:
    return SimpleNamespace(dag_id=dag, run_id=f"run {number}", **fields)


def task(state: str = "failed", **fields: Any) -> Any:
    return run(task_id="pay", state=state, try_number=2, **fields)


def fail_task(hooks: Any, task: Any, error: Any, before: str | None = "running") -> None:
    hooks.on_task_instance_failed(previous_state=before, task_instance=task, error=error)


def fail(hooks: Any, run: Any) -> None:
    hooks.on_dag_run_failed(dag_run=run, msg="timed_out")


def succeed(hooks: Any, run: Any) -> None:
    hooks.on_dag_run_success(dag_run=run, msg="success")


def alerts(client: Client, server: Scripted) -> list[dict[str, Any]]:
    assert client.flush(60)
    return server.alerts


def test_a_dag_fires_and_its_next_success_resolves(
    listen: Listen, client: Client, server: Scripted
) -> None:
    hooks = listen()
    error = ValueError("no card")
    fail_task(hooks, task("up_for_retry"), error)
    fail_task(hooks, task(), "marked by the operator", before=None)
    fail_task(hooks, task(log_url="http://airflow/log"), error)
    fail(hooks, run())
    for _ in range(3):
        succeed(hooks, run())
    failed, ended, resolved = alerts(client, server)
    assert {each["key"] for each in (failed, ended, resolved)} == {"airflow/shop"}
    assert failed["summary"] == "DAG shop failed: task pay: ValueError: no card"
    assert failed["url"] == "http://airflow/log"
    traceback = {"traceback": "ValueError: no card\n"}
    assert failed["details"] == {"run": "run 1", "try": 2, **traceback}
    assert ended["summary"] == "DAG shop failed: timed out"
    assert resolved["status"] == "resolved"


@pytest.mark.parametrize(
    ("error", "summary"),
    [
        ("heartbeat timeout", "DAG shop failed: task pay: heartbeat timeout"),
        (None, "DAG shop failed: task pay"),
    ],
)
def test_the_scheduler_reports_errors_as_text(
    listen: Listen, client: Client, server: Scripted, error: str | None, summary: str
) -> None:
    fail_task(listen(), task(), error)
    (alert,) = alerts(client, server)
    assert alert["summary"] == summary


def test_a_dag_has_fields_of_its_own_or_is_left_out(
    listen: Listen, client: Client, server: Scripted
) -> None:
    own = {"shop": {"severity": "critical", "labels": {"team": "shop"}}, "tidy": None}
    hooks = listen(fields=own)
    for dag in own:
        fail(hooks, run(dag))
        succeed(hooks, run(dag))
    fired, resolved = alerts(client, server)
    assert fired["severity"] == "critical"
    assert fired["labels"] == resolved["labels"] == {"dag": "shop", "team": "shop"}


def test_a_run_may_have_a_key_of_its_own(listen: Listen, client: Client, server: Scripted) -> None:
    hooks = listen(key=lambda dag, run: f"{dag}/{run}")
    fail(hooks, run())
    for number in (1, 1, 2):
        succeed(hooks, run(number=number))
    assert [alert["key"] for alert in alerts(client, server)] == ["shop/run 1"] * 2


def test_without_a_spool_the_process_of_a_task_waits_for_the_hand_over(
    load: Load, server: Scripted
) -> None:
    with Client(server.url) as client:
        listener = load("airflow").AlertListener(client)
        listener.on_dag_run_failed(run(), "timed_out")
        assert len(server.accepted) == 1


def test_a_notifier_fires_and_resolves(
    load: Load, server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALERTHOST_URL", server.url)
    monkeypatch.setenv("ALERTHOST_SPOOL", str(tmp_path))
    notifier = load("airflow_notifier").AlertNotifier
    notifier("shop/pay", "Pay failed", severity="critical").notify({})
    for _ in range(3):
        notifier("shop/pay", resolves=True).notify({})
    fired, resolved = server.alerts
    assert (fired["summary"], fired["severity"]) == ("Pay failed", "critical")
    assert (resolved["key"], resolved["status"]) == ("shop/pay", "resolved")
