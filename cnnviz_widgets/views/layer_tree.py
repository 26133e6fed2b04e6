"""The module tree of a network: to search, to walk by mouse or keys, and to pick a layer from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import anywidget
import ipywidgets
import traitlets

from cnnviz_widgets.views._bundle import bundle
from cnnviz_widgets.views._text import printable
from cnnviz_widgets.views._traits import TraitValueError

EXPANDED_ROWS = 40
"""Trees up to this many rows are shown whole at first, larger ones with two levels."""

SIDES = " \u00d7 "


class LayerLike(Protocol):
    """What the tree reads of a layer; `cnnviz_widgets.engine.layers.LayerInfo` has it."""

    @property
    def name(self) -> str:
        """Dotted name."""

    @property
    def kind(self) -> str:
        """Class name."""

    @property
    def parameters(self) -> int:
        """Number of parameters, those of its children included."""

    @property
    def output_shapes(self) -> tuple[tuple[int, ...] | None, ...]:
        """The shape each call returns, without the batch axis; `None` where it returns no tensor."""


class LayerTree(anywidget.AnyWidget):  # type: ignore[misc, unused-ignore]
    """See the modules of a network as a tree, with kind, output shape and number of parameters of each.

    Type in the field above to search by name or kind: what is found stays with all that it is in. Click a
    row to select it; or go there with Tab and walk with the arrow keys, Home, End or the first letters of a
    name, and select with Enter or Space. A module that is called more than once has a row for each call.
    Modules a forward pass never calls, or that return no tensor, are gray and say so. Searching, expanding
    and selecting work without a kernel, too.

    Parameters
    ----------
    layers : iterable of LayerLike
        Such as `Network.layers`. Names and kinds are text, whatever they hold.
    selected : str
        Name of the layer selected at first, empty for none.
    selected_call : int
        Which of its calls, from 0, where it is called more than once.
    max_height : int
        Height of the list in CSS pixels beyond which it scrolls.
    shapes : str
        What the shapes are, for the heading of their column and for the hover text.
    missing : str
        What to say of modules that are not among the layers, but have such inside.
    layout : ipywidgets.Layout or dict, optional

    Attributes
    ----------
    selected : str
        Name of the selected layer; empty for none.
    selected_call : int
        Which of its calls is selected, -1 for a layer that is called once. To set both at once, `select`.

    Raises
    ------
    ValueError
        Two layers have one name.
    TraitValueError
        (a ValueError) There is no such layer to select.

    Examples
    --------
    >>> from types import SimpleNamespace as Layer
    >>> tree = LayerTree([
    ...     Layer(name="conv", kind="Conv2d", parameters=28, output_shapes=((1, 8, 8),)),
    ...     Layer(name="relu", kind="ReLU", parameters=0, output_shapes=((1, 8, 8), (1, 8, 8))),
    ... ])
    >>> tree.select("relu", 1)
    >>> tree.selected, tree.selected_call
    ('relu', 1)
    """

    _esm = bundle("layer_tree")

    _rows = traitlets.List(traitlets.Dict()).tag(sync=True)
    _expanded = traitlets.List(traitlets.Unicode()).tag(sync=True)
    _query = traitlets.Unicode("").tag(sync=True)
    selected = traitlets.Unicode("").tag(sync=True)
    selected_call = traitlets.Int(-1, min=-1).tag(sync=True)
    max_height = traitlets.Int(420, min=60).tag(sync=True)
    shapes = traitlets.Unicode("output").tag(sync=True)
    missing = traitlets.Unicode("not a layer").tag(sync=True)

    def __init__(
        self,
        layers: Iterable[LayerLike],
        *,
        selected: str = "",
        selected_call: int = -1,
        max_height: int = 420,
        shapes: str = "output",
        missing: str = "not a layer",
        layout: ipywidgets.Layout | dict[str, Any] | None = None,
    ) -> None:
        rows = [_row(layer) for layer in layers]
        self._shapes: dict[str, list[list[int] | None]] = {row["name"]: row["shapes"] for row in rows}
        if len(self._shapes) < len(rows):
            names = [row["name"] for row in rows]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"each layer has a name of its own, but two are called {twice!r}")
        options = {} if layout is None else {"layout": layout}
        super().__init__(
            _rows=rows,
            _expanded=_expanded_at_first(rows),
            max_height=max_height,
            shapes=shapes,
            missing=missing,
            **options,
        )
        if selected:
            self.select(selected, selected_call)

    def select(self, name: str, call: int = -1) -> None:
        """Select a layer, or one call of a layer that is called more than once; "" selects none."""
        with self.hold_sync(), self.hold_trait_notifications():
            self.selected, self.selected_call = name, call

    @traitlets.validate("selected", "selected_call")
    def _check_selected(self, proposal: dict[str, Any]) -> Any:
        # `select`, like a message from the page, has both in place before either is checked.
        value, trait = proposal["value"], proposal["trait"].name
        name = value if trait == "selected" else self.selected
        call = value if trait == "selected_call" else self.selected_call
        problem = self._problem(name, call)
        if problem:
            raise TraitValueError(problem)
        return value

    def _problem(self, name: str, call: int) -> str:
        """Return why that can't be selected, or an empty text."""
        shapes = self._shapes.get(name)
        if name == "":
            return "" if call == -1 else f"no layer is named, but its call {call}; use select(name, call)"
        if shapes is None:
            return f"the tree has no layer {name!r}"
        if not shapes:
            return f"layer {name!r} can't be selected: a forward pass never calls it"
        if len(shapes) == 1 and call != -1:
            return f"layer {name!r} is called once, so call must be -1, got {call}; use select(name, call)"
        if len(shapes) > 1 and not 0 <= call < len(shapes):
            return (
                f"layer {name!r} is called {len(shapes)} times, so call must be from 0 to "
                f"{len(shapes) - 1}, got {call}; use select(name, call)"
            )
        if shapes[max(call, 0)] is None:
            return f"layer {name!r} can't be selected: it returns no tensor"
        return ""

    def to_text(self) -> str:
        """Return the tree as indented lines, for viewers that run no widgets."""
        return "\n".join(_line(row) for row in self._rows) or "no layers"

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        bundled: tuple[dict[str, Any], dict[str, Any]] | None = super()._repr_mimebundle_(**options)
        if bundled is None:
            return None
        data, metadata = bundled
        return {**data, "text/plain": self.to_text()}, metadata


def _row(layer: LayerLike) -> dict[str, Any]:
    """Return a layer as the page reads it; `LayerRow` of the front end says what each entry means."""
    shapes = [None if shape is None else [int(side) for side in shape] for shape in layer.output_shapes]
    return {
        "name": str(layer.name),
        "kind": printable(layer.kind),
        "shapes": shapes,
        "parameters": int(layer.parameters),
    }


def _expanded_at_first(rows: list[dict[str, Any]]) -> list[str]:
    parents: dict[str, None] = {}
    for row in rows:
        parts = row["name"].split(".")
        parents |= {".".join(parts[:depth]): None for depth in range(1, len(parts))}
        if len(row["shapes"]) > 1:
            parents[row["name"]] = None
    if len(rows) > EXPANDED_ROWS:
        return [name for name in parents if "." not in name]
    return list(parents)


def _line(row: dict[str, Any]) -> str:
    depth: int = row["name"].count(".")
    texts = [printable(row["name"].rpartition(".")[2]), row["kind"]]
    texts += [SIDES.join(map(str, shape)) if shape else "no tensor" for shape in row["shapes"]]
    if not row["shapes"]:
        texts.append("never called")
    if row["parameters"]:
        texts.append(f"{row['parameters']:,} parameters")
    return "  " * depth + "  ".join(texts)
