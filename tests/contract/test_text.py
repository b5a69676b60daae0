"""Blank texts, and shortened ones."""

from __future__ import annotations

import unicodedata

import pytest

from hostspec.text import is_blank, shorten

_VISIBLE_FORMATS = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2"
"""Signs put before Arabic and Syriac numbers and letters, and are drawn."""


_INVISIBLE_SIGNS = "\u115f\u1160\u2800\u3164\uffa0\U0001d159"
"""Letters and symbols that are drawn as nothing."""


def test_blanks_controls_and_formats_are_blank() -> None:
    for code in range(0x20000):
        character = chr(code)
        category = unicodedata.category(character)
        if category[0] == "Z" or category == "Cc":
            assert is_blank(character), hex(code)
        elif category == "Cf" and code < 0x10000:
            assert is_blank(character) is (character not in _VISIBLE_FORMATS), hex(code)
        elif category[0] in "LNPS":
            assert is_blank(character) is (character in _INVISIBLE_SIGNS), hex(code)


@pytest.mark.parametrize(
    "text", ["", " \t\r\n", "\u200b", "\ufeff\u2060\u00ad", "\u3164\uffa0\u115f\u1160", "\u2800"]
)
def test_invisible_characters_are_blank(text: str) -> None:
    assert is_blank(text)
    assert not is_blank(f"{text}.{text}")


@pytest.mark.parametrize("text", ["0", "ä", "\u0301", "…", "漢", "\U0001f525", "한글", "-"])
def test_visible_characters_are_not_blank(text: str) -> None:
    assert not is_blank(text)


def test_only_longer_text_is_shortened() -> None:
    assert shorten("abc", 3) == "abc"
    assert shorten("abcd", 3) == "abc…"
    assert shorten("", 0) == ""
