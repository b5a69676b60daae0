"""Exceptions as the integrations describe them."""

from __future__ import annotations

from alerthost_client.integrations.reporter import call_site, describe, format_error


class RefusedError(Exception):
    pass


def fail(text: str) -> None:
    raise RefusedError(text)


def failed(text: str) -> Exception:
    try:
        fail(text)
    except RefusedError as error:
        return error
    raise AssertionError


def test_an_exception_is_described_by_its_class_text_and_function() -> None:
    error = failed("card 7")
    assert describe(error) == f"{__name__}.RefusedError: card 7"
    assert call_site(error) == f"RefusedError in {__name__}.fail"
    assert "    raise RefusedError(text)" in format_error(error)
    assert call_site(failed("card 8")) == call_site(error)


def test_an_exception_that_was_not_raised_is_described_by_its_class() -> None:
    assert call_site(RefusedError()) == "RefusedError"
    assert describe(RefusedError()) == f"{__name__}.RefusedError"
