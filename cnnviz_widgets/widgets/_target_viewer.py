"""What the explorers of one answer share: a photo, and the class, unit or number that is asked about."""

from __future__ import annotations

from typing import Any

import traitlets

from cnnviz_widgets.engine.covering import check_classes, check_target, class_count, why_no_classes
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.targets import Target, TargetLike, as_target
from cnnviz_widgets.widgets._photos import PhotoViewer


class TargetViewer(PhotoViewer):
    """Base of the widgets that explain one answer to a photo; a subclass calls `_ask` before it makes its parts."""

    target = traitlets.Any(help="What is asked about, a `Target`.")

    _classes: int  # how many there are; 0 where the network returns no class scores
    _no_classes: str  # why there are none
    _follows: bool  # whether the most probable class is asked about, whatever the photo

    def _ask(self, net: Network, images: Any, target: TargetLike | None) -> None:
        """Look at photos with a network; raises where they can't be used, or no class stands in for a target."""
        self._take_network(net)
        self._offer(images)
        self._classes = class_count(net, self._x)
        self._no_classes = "" if self._classes else why_no_classes(net, self._x)
        self._follows = target is None
        if target is None and not self._classes:
            check_classes(net, self._x)

    @traitlets.validate("target")
    def _check_target(self, proposal: Any) -> Target:
        target = as_target(proposal["value"])
        check_target(self.net, self._x, target, self._classes)
        return target
