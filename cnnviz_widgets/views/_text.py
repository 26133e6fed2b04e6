"""How the views built on other people's widgets write text and numbers: as text, never as HTML."""

from __future__ import annotations

import html
import math
import unicodedata

MINUS = "\u2212"
ELLIPSIS = "\u2026"


def as_html(text: str) -> str:
    """Return markup that shows exactly this text, control characters as the replacement character.

    >>> as_html("<b>cat</b>")
    '&lt;b&gt;cat&lt;/b&gt;'
    """
    return html.escape(printable(text))


def printable(text: str) -> str:
    r"""Return the text on one line: line breaks and tabs as spaces, other control characters as U+FFFD.

    >>> printable("tabby\ncat")
    'tabby cat'
    """
    spaced = " ".join(str(text).split())
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in spaced)


def elide(text: str, ems: float) -> str:
    """Return the text, or its beginning and an ellipsis, so that it is about `ems` wide at most.

    An em is the font's size. The width is estimated, generously, as the page's font is not known here.

    >>> elide("Egyptian cat", 6.0)
    'Egyptian…'
    """
    if text_width(text) <= ems:
        return text
    kept = ""
    for letter in text:
        if text_width(kept + letter) > ems - 1:
            break
        kept += letter
    return kept.rstrip() + ELLIPSIS


def text_width(text: str) -> float:
    """Estimate the width of a text in ems of a common sans-serif font, rather too wide than too narrow."""
    return sum(_letter_width(letter) for letter in text)


def _letter_width(letter: str) -> float:
    if unicodedata.combining(letter):
        return 0.0
    if unicodedata.east_asian_width(letter) in "WF":
        return 1.05
    if letter in "ijlftrI.,:;'|!()[] ":
        return 0.42
    if letter in "mwMW@%":
        return 1.0
    return 0.78 if letter.isupper() or ord(letter) > 0x2000 else 0.63


def format_number(value: float, digits: int = 4) -> str:
    """Return the number in so many significant digits, with a true minus sign; large ones, up to a million, whole.

    >>> format_number(1234.5678), format_number(1234.5678, 3), format_number(12345678.0)
    ('1235', '1235', '1.235e+07')
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else MINUS + "∞"
    is_large = 10**digits <= abs(value) < 1e6
    return (f"{value:.0f}" if is_large else f"{value:.{digits}g}").replace("-", MINUS)


def format_share(probability: float) -> str:
    """Return a probability as a percentage of one decimal, `<0.1%` where that would read as nothing.

    >>> format_share(0.6204)
    '62.0%'
    """
    if 0 < probability < 0.0005:
        return "<0.1%"
    if 0.9995 <= probability < 1:
        return ">99.9%"
    return f"{probability:.1%}"
