"""Any request body is processed in time linear in its length."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from steps import is_linear

from alerthost.ingest import alertmanager, json_alerts
from hostspec import Alert
from hostspec.alert import parse_json
from hostspec.alert.fields import _TOKEN
from hostspec.normalisation import normalise


def collisions(n: int) -> bytes:
    """Make details that collide with every name for an unknown field."""
    taken = {"alert." * number + "x": 1 for number in range(n)}
    return json.dumps({"key": "k", "details": taken, **taken}).encode()


def numbered(n: int) -> bytes:
    taken = {"x": 1, "alert.x": 1, **{f"alert.x ({number})": 1 for number in range(2, n)}}
    return json.dumps({"key": "k", "details": taken, **taken}).encode()


BODIES: dict[str, Callable[[int], bytes]] = {
    "lists without end": lambda n: b"[" * 40 * n,
    "lists with an end": lambda n: b"[" * 40 * n + b"]" * 40 * n,
    "objects without end": lambda n: b'{"a":' * 40 * n,
    "a string without end": lambda n: b"[" * 100_000 + b'"' + b'\\"' * n,
    "deep details": lambda n: b'{"key": "k", "details": ' + b"[" * 40 * n + b"]" * 40 * n + b"}",
    "deep lines": lambda n: (b'{"key": "k", "x": ' + b"[" * 200 + b"]" * 200 + b"}\n") * (n // 40),
    "small lines": lambda n: b'{"key":"a"}\n' * n,
    "faulty lines": lambda n: b"1\n" * n,
    "blank lines": lambda n: b"1\n2\n" + b"\n" * n,
    "one line of many": lambda n: b"1 " * n,
    "a list": lambda n: b'[{"key":"a"}' + b',{"key":"a"}' * n + b"]",
    "digits": lambda n: b'{"key": "k", "updated_at": ' + b"7" * n + b', "x": 1.' + b"7" * n + b"}",
    "escapes": lambda n: b'{"key": "' + b"\\u0000\\ud800" * n + b'"}',
    "unknown fields": lambda n: json.dumps({"key": "k", **{f"f{i}": 1 for i in range(n)}}).encode(),
    "labels": lambda n: json.dumps({"key": "k", "labels": {f"f{i}": 1 for i in range(n)}}).encode(),
    "details": lambda n: json.dumps(
        {"key": "k", "details": {f"f{i}": 1 for i in range(n)}}
    ).encode(),
    "links": lambda n: b'{"key": "k", "links": [' + b'{"x": 1},' * n + b"{}]}",
    "images": lambda n: b'{"key": "k", "images": ["x"' + b',"x"' * n + b"]}",
    "taken places": collisions,
    "taken numbers": numbered,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_body_is_read_in_linear_time(body: Callable[[int], bytes]) -> None:
    made = {size: body(size) for size in (300, 600)}
    assert is_linear(lambda size: json_alerts.parse_body(made[size]), 300)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 1000 + '"' + '\\"' * 1000,
        "[" * 1000 + '"' + '\\"' * 1000 + "\\",
        '"' * 1001,
        '{"a\\\n": "\\u',
        "]}" * 100,
        "",
        "nothing at all",
    ],
    ids=lambda text: text[-20:],
)
def test_every_quote_begins_a_token(text: str) -> None:
    """A quote always begins a token, so that no scan for the end of its string is repeated."""
    assert '"' not in _TOKEN.sub("", text)


def test_number_of_alerts_is_bounded() -> None:
    alert = b'{"key":"a"}'
    for body in (b"\n".join([alert] * 3), b"[" + b",".join([alert] * 3) + b"]"):
        assert len(json_alerts.parse_body(body, most=3)) == 3
        with pytest.raises(json_alerts.TooManyAlertsError, match="more than 2 alerts"):
            json_alerts.parse_body(body, most=2)


@pytest.mark.parametrize("levels", [127, 128, 129, 985, 100_000])
def test_labels_may_be_nested_at_any_depth(levels: int) -> None:
    """No nesting reaches Python's limit of recursion, wherever a body is read."""
    deep = "[" * levels + "]" * levels
    labels = f'{{"alertname": "A", "a": {deep}}}'
    text = f'{{"alerts": [{{"status": "firing", "labels": {labels}}}]}}'
    (read,) = alertmanager.parse_webhook(parse_json(text))
    assert read.alert is not None
    assert "(nested too deeply)" in read.alert.labels["a"]
    alert = Alert.read_text(f'{{"key": "k", "labels": {labels}}}')
    assert "(nested too deeply)" in alert.labels["a"]


def test_parsed_json_is_never_nested_too_deeply() -> None:
    assert json.dumps(parse_json("[" * 127 + "]" * 127)) == "[" * 127 + "]" * 127
    assert json.dumps(parse_json("[" * 128 + "]" * 128)) == "[" * 127 + "null" + "]" * 127
    assert json.dumps(parse_json('{"a":' * 985 + "1" + "}" * 985)).count("{") == 127


VALUES: dict[str, Callable[[int], object]] = {
    "a list": lambda n: list(range(n)),
    "names": lambda n: {f"n{i}": i for i in range(n)},
    "the same name": lambda n: {Unnamed(i): i for i in range(n)},
    "a set": lambda n: set(range(n)),
    "repairs": lambda n: [float("nan")] * n,
    "deep": lambda n: [[[[[[[[[[1]]]]]]]]]] * (n // 10),
    "too deep": lambda n: [json.loads("[" * 100 + "]" * 100)] * (n // 50),
    "shared": lambda n: [["x"] * 10] * (n // 10),
}


class Unnamed:
    """A key whose text is the same for all."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __str__(self) -> str:
        return "unnamed"


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_value_is_normalised_in_linear_time(value: Callable[[int], object]) -> None:
    made = {size: value(size) for size in (500, 1000)}
    assert is_linear(lambda size: normalise(made[size], "it"), 500)
