"""Text stays text, on one line, and about as wide as it may be."""

from __future__ import annotations

import html
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnviz_widgets.views._text import (
    ELLIPSIS,
    MINUS,
    as_html,
    elide,
    format_number,
    format_share,
    printable,
    text_width,
)


@given(st.text())
def test_markup_shows_the_very_text(text):
    markup = as_html(text)
    assert "<" not in markup
    assert html.unescape(markup) == printable(text)


@given(st.text())
def test_printable_is_one_line_and_changes_nothing_printable(text):
    line = printable(text)
    assert line.isprintable() or "\ufffd" in line
    assert "\n" not in line
    if text.isprintable() and "  " not in text and text == text.strip():
        assert line == text


@given(st.text(), st.floats(2.5, 40))
def test_elided_text_fits_and_is_a_beginning(text, ems):
    short = elide(text, ems)
    if short != text:
        assert text_width(text) > ems
        assert short.endswith(ELLIPSIS)
        assert text.startswith(short[:-1])
        assert text_width(short) <= ems


def test_elide_keeps_as_much_as_fits():
    assert elide("a" * 40, 13.5) == "a" * 19 + ELLIPSIS  # 19 * 0.63 + 1 <= 13.5 < 20 * 0.63 + 1
    assert elide("\u6f22" * 40, 13.5) == "\u6f22" * 11 + ELLIPSIS
    assert elide("short", 13.5) == "short"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.04012, MINUS + "0.04012"),
        (1234.5678, "1235"),
        (1e-9, "1e" + MINUS + "09"),
        (math.nan, "NaN"),
        (math.inf, "\u221e"),
        (-math.inf, MINUS + "\u221e"),
    ],
)
def test_numbers(value, text):
    assert format_number(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0.0%"),
        (0.0001, "<0.1%"),
        (0.0005, "0.1%"),
        (0.6204, "62.0%"),
        (0.9996, ">99.9%"),
        (1.0, "100.0%"),
    ],
)
def test_shares_never_read_as_nothing_or_all_when_they_are_not(share, text):
    assert format_share(share) == text
