"""The host's side of an install flow: pending installs and single-use states."""

from __future__ import annotations

import datetime as dt
import json
import pickle
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs
import pytest

from hostspec import FaultsError, Installation, Provider, from_json, setting, to_json
from hostspec.connect import (
    CALLBACK_HEADERS,
    Connected,
    InstallError,
    InstallFlow,
    InstallProblem,
    PendingInstall,
    PendingInstalls,
)

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
LATER = NOW + dt.timedelta(hours=1)
CALLBACK = "https://host.example/back"


@attrs.frozen(kw_only=True)
class Question:
    colour: str = setting("Colour", default="red")


class Painter(InstallFlow[Question, str]):
    """A provider unlike PagerDuty, which grants a word."""

    provider = "painter"
    settings = Question

    def address(self, redirect_url: str, settings: Question) -> str:
        return f"https://painter.example/{settings.colour}?to={redirect_url}"

    def connect(
        self,
        parameters: Mapping[str, str],
        settings: Question,
        installations: Iterable[Installation[Any]],
    ) -> Connected[str]:
        if "word" not in parameters:
            raise InstallError(InstallProblem.MISSING_ANSWER, "the painter said nothing")
        word = f"{settings.colour} {parameters['word']}"
        return Connected(Installation("painter", word, word), again=bool(list(installations)))


def begin(callback_url: str = CALLBACK, **options: Any) -> Any:
    return Painter().begin(callback_url, Question(colour="blue"), now=NOW, **options)


def problem(parameters: Mapping[str, str], pending: PendingInstall | None, **options: Any) -> str:
    with pytest.raises(InstallError) as caught:
        Painter().finish(parameters, pending, **options)
    return caught.value.problem


def test_an_install_flow_finishes() -> None:
    begun = begin(state="abc")
    assert begun.url == "https://painter.example/blue?to=https://host.example/back?state=abc"
    connected = Painter().finish({"state": "abc", "word": "sky"}, begun.pending, now=NOW)
    assert connected.installation.name == "blue sky"
    assert (connected.again, connected.return_url) == (False, CALLBACK)
    again = Painter().finish(
        {"state": "abc", "word": "sky"},
        begun.pending,
        now=NOW,
        installations=[connected.installation],
    )
    assert again.again


def test_a_state_cannot_be_guessed_and_is_not_shown() -> None:
    begun = [Painter().begin(CALLBACK, Question()) for _ in range(50)]
    states = {each.pending.state for each in begun}
    assert len(states) == 50
    assert min(map(len, states)) >= 43
    for each in begun:
        assert each.pending.state in each.url
        assert each.pending.state not in repr(each)


def test_the_clock_is_the_default_time() -> None:
    begun = Painter().begin(CALLBACK, Question())
    parameters = {"state": begun.pending.state, "word": "sky"}
    assert Painter().finish(parameters, begun.pending).installation.name == "red sky"
    stale = attrs.evolve(begun.pending, expires_at=dt.datetime.now(dt.UTC))
    assert problem(parameters, stale) == InstallProblem.EXPIRED_STATE


@pytest.mark.parametrize(
    ("callback_url", "redirect_url", "return_url"),
    [
        ("https://h.example", "https://h.example?state=s", "https://h.example"),
        ("https://h.example/b?a=1&b=", "https://h.example/b?a=1&b=&state=s", "https://h.example/b"),
        ("https://h.example/b#top", "https://h.example/b?state=s", "https://h.example/b"),
        ("http://127.0.0.1:99/", "http://127.0.0.1:99/?state=s", "http://127.0.0.1:99/"),
        ("http://localhost/", "http://localhost/?state=s", "http://localhost/"),
    ],
)
def test_the_state_joins_the_callbacks_query(
    callback_url: str, redirect_url: str, return_url: str
) -> None:
    begun = begin(callback_url, state="s")
    assert begun.url.partition("?to=")[2] == redirect_url
    assert begun.pending.return_url == return_url


@pytest.mark.parametrize(
    ("callback_url", "reason"),
    [
        ("http://h.example/", "is not encrypted"),
        ("ftp://h.example/", "is not an http or https URL"),
        ("/back", "is not an http or https URL"),
        ("https://", "is not an http or https URL"),
        ("https://[bad", "is not a URL: Invalid IPv6 URL"),
        ("https://h.example/?state=", "has a parameter 'state', which the install flow adds"),
    ],
)
def test_an_invalid_callback_url_is_rejected(callback_url: str, reason: str) -> None:
    with pytest.raises(FaultsError) as caught:
        begin(callback_url)
    (fault,) = caught.value.faults
    assert fault.path == "callback_url"
    assert fault.reason.startswith(reason)


@pytest.mark.parametrize("state", [{}, {"state": ""}, {"state": "other"}, {"state": "é\ud800"}])
def test_a_wrong_state_is_refused(state: dict[str, str]) -> None:
    pending = begin(state="abc").pending
    assert problem({**state, "word": "sky"}, pending, now=NOW) == InstallProblem.WRONG_STATE
    assert problem({**state, "word": "sky"}, None, now=NOW) == InstallProblem.WRONG_STATE


def test_a_state_of_another_provider_is_rejected() -> None:
    pending = attrs.evolve(begin(state="abc").pending, provider="other")
    assert problem({"state": "abc", "word": "sky"}, pending, now=NOW) == InstallProblem.WRONG_STATE


def test_an_expired_state_is_rejected() -> None:
    pending = begin(state="abc").pending
    parameters = {"state": "abc", "word": "sky"}
    just = LATER - dt.timedelta(microseconds=1)
    assert Painter().finish(parameters, pending, now=just).installation.name == "blue sky"
    assert problem(parameters, pending, now=LATER) == InstallProblem.EXPIRED_STATE


def test_an_install_error_has_the_return_url_and_survives_pickling() -> None:
    pending = begin(state="abc", return_url="https://host.example/done").pending
    with pytest.raises(InstallError) as caught:
        Painter().finish({"state": "abc"}, pending, now=NOW)
    copy = pickle.loads(pickle.dumps(caught.value))
    for error in (caught.value, copy):
        assert (error.problem, str(error)) == ("missing_answer", "the painter said nothing")
        assert (error.reason, error.return_url) == (str(error), "https://host.example/done")


def test_another_process_can_finish_a_pending_install() -> None:
    pending = begin(state="abc").pending
    stored = json.dumps(to_json(pending))
    back = from_json(PendingInstall, json.loads(stored))
    assert back == pending
    assert hash(back) == hash(pending)
    connected = Painter().finish({"state": "abc", "word": "sky"}, back, now=NOW)
    assert connected.installation.name == "blue sky"


def test_a_state_is_used_once() -> None:
    pendings = PendingInstalls()
    begun = begin()
    pendings.keep(begun.pending)
    parameters = parse_qs(urlsplit(begun.url.partition("?to=")[2]).query)
    came = {"state": parameters["state"][0], "word": "sky"}
    assert Painter().finish(came, pendings.take(came), now=NOW).installation.name == "blue sky"
    for _ in range(2):
        assert problem(came, pendings.take(came), now=NOW) == InstallProblem.REUSED_STATE
    assert pendings.take({"state": "other"}) is None
    assert pendings.take({}) is None


def test_one_of_many_threads_gets_a_state() -> None:
    pendings = PendingInstalls()
    for state in map(str, range(50)):
        pendings.keep(begin(state=state).pending)
    asked = [{"state": str(number % 50)} for number in range(400)]
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(pendings.take, asked))
    assert sorted(each.state for each in taken if each and not each.used) == sorted(
        map(str, range(50))
    )


def test_the_oldest_pending_installs_are_dropped() -> None:
    pendings = PendingInstalls(most=2)
    for state in ("a", "b", "c"):
        pendings.keep(begin(state=state).pending)
    assert [pendings.take({"state": each}) is None for each in "abc"] == [True, False, False]


def test_the_answer_to_a_callback_is_not_kept() -> None:
    assert dict(CALLBACK_HEADERS) == {
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
    }


def test_a_provider_without_an_install_flow_offers_none() -> None:
    class Bare(Provider[Question]):
        name = "bare"
        label = "Bare"
        settings = Question

        def destinations(self, installation: Installation[Question]) -> list[Any]:
            return []

    assert Bare().install_flow() is None
