"""Closing a widget with all that it is made of: ipywidgets closes only the one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ipywidgets
from ipywidgets.widgets import widget as registry
from ipywidgets.widgets.widget_link import Link


def close_parts(widget: ipywidgets.Widget) -> None:
    """Close all that a widget is made of, itself aside, and the links between them: they'd outlive what they link."""
    parts = parts_of(widget)
    closed = {id(part) for part in (widget, *parts)}
    for link in [each for each in list(registry._instances.values()) if isinstance(each, Link)]:
        if any(id(end[0]) in closed for end in (link.source, link.target)):
            link.close()
    for part in parts:
        if part.comm is not None:
            part.close()


def parts_of(widget: ipywidgets.Widget) -> list[ipywidgets.Widget]:
    """Return what a widget's state refers to, and so on: children, layouts, styles, a chart's marks and scales."""
    parts, known = [widget], {id(widget)}
    for part in parts:  # grows while it is walked
        # Private ones may be everybody's: all canvases share a manager.
        for name in (name for name in part.keys if not name.startswith("_")):
            for found in _widgets_in(part._trait_values.get(name)):
                if id(found) not in known:
                    known.add(id(found))
                    parts.append(found)
    return parts[1:]


def _widgets_in(value: Any) -> Iterator[ipywidgets.Widget]:
    if isinstance(value, ipywidgets.Widget):
        yield value
    elif isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _widgets_in(each)
