"""All faults are reported at once, with their paths."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from hostspec import Fault, FaultsError, FaultyAlertError, SettingsError


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
