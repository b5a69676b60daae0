"""Faults are reported with their paths, and failures of plugins without their messages."""

from __future__ import annotations

import copy
import logging
import pickle
from types import ModuleType
from typing import Any

import pytest

from hostspec import Fault, FaultsError, FaultyAlertError, SettingsError
from hostspec.errors import describe_error


def test_fault_has_path_and_reason() -> None:
    assert str(Fault("a.b", "is wrong")) == "a.b: is wrong"
    assert str(Fault("", "is wrong")) == "is wrong"


@pytest.mark.parametrize(
    ("path", "expected"), [("", "top"), ("a", "top.a"), ("[1]", "top[1]"), ("a[1].b", "top.a[1].b")]
)
def test_fault_can_be_put_below_a_path(path: str, expected: str) -> None:
    assert Fault(path, "why").below("top") == Fault(expected, "why")


FAULTS = [Fault("a", "is wrong"), Fault("", "is missing")]


def test_error_lists_every_fault() -> None:
    error = FaultsError(iter(FAULTS))
    assert error.faults == tuple(FAULTS)
    assert str(error) == "a: is wrong; is missing"
    assert isinstance(error, ValueError)


def pickled(error: Any) -> Any:
    return pickle.loads(pickle.dumps(error))


@pytest.mark.parametrize("kind", [FaultsError, FaultyAlertError, SettingsError])
@pytest.mark.parametrize("sent", [pickled, copy.copy, copy.deepcopy])
def test_error_survives_pickling(sent: Any, kind: type[FaultsError]) -> None:
    back = sent(kind(FAULTS))
    assert type(back) is kind
    assert back.faults == tuple(FAULTS)
    assert str(back) == "a: is wrong; is missing"


def module(name: str, package: str, file: str, code: str) -> ModuleType:
    made = ModuleType(name)
    made.__package__ = package
    exec(compile(code, f"/srv/site-packages/{file}", "exec"), vars(made))
    return made


def test_place_is_the_last_line_of_the_plugin() -> None:
    """A line of a library that the plugin called is not the place."""
    library = module("bolts", "bolts", "bolts/__init__.py", "def turn(): raise OSError('canary')")
    code = "def enrich(library):\n    return choose(library)\n\ndef choose(library):\n"
    code += "    return [library.turn() for _ in 'x']\n"
    plugin = module("acme_pager.hooks", "acme_pager", "acme_pager/hooks.py", code)

    with pytest.raises(OSError, match="canary") as caught:
        plugin.enrich(library)
    error = caught.value.with_traceback(caught.tb.tb_next if caught.tb else None)

    assert describe_error(error) == "failed at acme_pager/hooks.py:5"


def test_debug_log_has_class_and_frames_but_no_message(caplog: pytest.LogCaptureFixture) -> None:
    def deeper(levels: int) -> None:
        if levels:
            deeper(levels - 1)
        raise ValueError("canary")

    with pytest.raises(ValueError, match="canary") as caught:
        deeper(100)
    with caplog.at_level(logging.DEBUG, "hostspec"):
        describe_error(caught.value)

    [record] = caplog.records
    assert (record.name, record.levelno) == ("hostspec", logging.DEBUG)
    assert record.getMessage().startswith("ValueError was raised; traceback, the last call last: ")
    assert record.getMessage().count(__file__) == 20
    assert "canary" not in record.getMessage()


def test_error_of_the_host_names_its_own_line() -> None:
    with pytest.raises(RuntimeError) as caught:
        exec("raise RuntimeError", {"__name__": "json"})
    assert caught.tb is not None
    error = caught.value.with_traceback(caught.tb.tb_next)

    assert describe_error(error) == "failed at <string>:1"
