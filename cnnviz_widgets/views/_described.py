"""What a view leaves for viewers that run no widgets: its words, and its picture."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

Bundle = tuple[dict[str, Any], dict[str, Any]] | None


def described(bundle: Bundle, text: Callable[[], str], picture: Callable[[], bytes | None]) -> Bundle:
    """Put what is to be read, and to be seen if there is anything, into what anywidget shows a view with."""
    if bundle is not None:
        data = bundle[0]
        data["text/plain"] = text()
        still = picture()
        if still is not None:
            data["image/png"] = base64.b64encode(still).decode("ascii")
    return bundle
