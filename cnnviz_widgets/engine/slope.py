"""One step's objective: where pictures are, and what there is to follow from there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from cnnviz_widgets.engine.climber import Climber
from cnnviz_widgets.engine.input_gradients import leaf_of, sent_back
from cnnviz_widgets.engine.objectives import Objective
from cnnviz_widgets.engine.optimizers import Evaluated
from cnnviz_widgets.engine.parameterizations import Parameterization
from cnnviz_widgets.engine.relu_rules import RELAXED, ruled
from cnnviz_widgets.engine.transforms import Transform, transformed

REACHED = 1e-6
"""A relative distance as small as that is rounding: there is nothing left to follow."""
# So many draws of the transforms in a row without a gradient are bad luck; then the picture itself is shown.
_DRAWS = 8


@dataclass(frozen=True)
class Slope:
    """Where pictures are, and what to follow.

    Attributes
    ----------
    values
        By term, for each picture [N].
    gradient
        Of their sum, with respect to the leaf.
    revived
        For which pictures it is that of relaxed rectifiers, since the plain one is zero [N].
    """

    values: dict[str, Tensor]
    gradient: Tensor
    revived: Tensor

    @property
    def value(self) -> float:
        """The sum that is to grow."""
        return total_of(self.values)

    @property
    def evaluated(self) -> Evaluated:
        """What an optimizer needs to know."""
        return self.values, self.gradient

    @cached_property
    def peak(self) -> float:
        """The largest magnitude in the gradient; NaN where there is one."""
        return float(_peaks(self.gradient).max())


class Looked:
    """Pictures of a leaf that somebody looked at, kept for the step that begins there; knows nothing of the network.

    May be looked at from any thread, whatever the loop does meanwhile.

    Parameters
    ----------
    image
        Makes them.
    """

    def __init__(self, image: Parameterization) -> None:
        self._image = image
        self._made: tuple[Tensor, Tensor, Tensor] | None = None
        self._open = True

    def picture(self, here: Tensor) -> Tensor:
        """Return the pictures of a leaf."""
        with torch.inference_mode(False), torch.enable_grad():
            leaf = leaf_of(here)
            picture = self._image.picture(leaf)
        self._made = here, leaf, picture
        if not self._open:
            self._made = None
        return picture.detach()

    def take(self, here: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return a leaf and its pictures, once, if those of ``here`` were looked at last."""
        made, self._made = self._made, None
        return made[1:] if made is not None and made[0] is here else None

    def close(self) -> None:
        """Keep nothing any more: no step follows."""
        self._open = False
        self._made = None


class Evaluation:
    """The value of some terms, and its gradient with respect to the numbers that stand for pictures.

    Parameters
    ----------
    climber, image, terms, transforms, random
        See `cnnviz_widgets.engine.ascent.ascend`.
    losses
        Whether the terms are losses with a minus.

    Attributes
    ----------
    live
        Which pictures have had a gradient by way of the network [N].
    looked
        The pictures that steps are shown with.
    """

    def __init__(
        self,
        climber: Climber,
        image: Parameterization,
        terms: Mapping[str, Objective],
        transforms: Sequence[Transform],
        random: torch.Generator,
        losses: bool,
    ) -> None:
        self._climber, self._image = climber, image
        self._transforms, self._random = transforms, random
        self._asking = [name for name, each in terms.items() if each.asks_network]
        self._losses = losses
        self.looked = Looked(image)
        self.live = torch.zeros(len(image.leaf), dtype=torch.bool)

    def drawn(self, here: Tensor, *, relax: bool) -> tuple[Slope, Tensor | None]:
        """Return what there is to follow, and the draw of the transforms that shows it; ``None`` for none of them.

        ``here`` is a copy of the leaf.
        """
        begun = self.looked.take(here)
        for _ in range(_DRAWS if self._transforms else 0):
            draw = self._random.get_state()
            slope = self(draw, relax=relax, begun=begun)
            begun = None
            if not self.is_stuck(slope):
                return slope, draw
        # What moves and turns may have hidden.
        return self(None, relax=relax, begun=begun), None

    def is_stuck(self, slope: Slope) -> bool:
        """Return whether no picture has anything to follow: penalties lead nowhere where the network is silent."""
        if not slope.peak:
            return True
        if not self._asking or bool((self.live | slope.revived).any()):
            return False
        left = -total_of({name: slope.values[name] for name in self._asking})
        # A loss that is 0 is no fault: what is left is to make the penalties small.
        return not (self._losses and left <= REACHED)

    def __call__(
        self, draw: Tensor | None, *, relax: bool = False, begun: tuple[Tensor, Tensor] | None = None
    ) -> Slope:
        """Return the values, and the gradient of their sum; where that is zero, with relaxed rectifiers if wanted.

        ``begun`` is the leaf with its pictures, where these are known.
        """
        # Once each picture has had one, only what relaxed rectifiers may help needs to know of this step's.
        knows = not relax and bool(self.live.all())
        values, gradient, live = self._once(draw, "plain", watch=not knows, begun=begun)
        self.live |= live
        revived = torch.zeros_like(live)
        if relax and not bool(live.all()):
            _, other, woken = self._once(draw, RELAXED, watch=True)
            revived = woken & ~live
            chosen = revived.to(gradient.device).view(-1, *[1] * (gradient.ndim - 1))
            gradient = torch.where(chosen, other, gradient)
        return Slope(values, gradient, revived)

    def elsewhere(self, draw: Tensor | None) -> Evaluated:
        """Return the same where an optimizer tries the leaf, for the same draw."""
        return self(draw).evaluated

    def values(self) -> dict[str, Tensor]:
        """Return each term's values [N] of the pictures as they are."""
        # As a pass for gradients, which is known already to leave the module as it is.
        leaf = self._image.leaf.detach().requires_grad_()
        with self._climber.step():
            picture = self._image.picture(leaf)
            return _numbers(self._climber.values(picture, picture))

    def _once(
        self,
        draw: Tensor | None,
        rule: str,
        *,
        watch: bool,
        begun: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Return the values, the gradient, and for which pictures the network was seen to have a part in that [N]."""
        arrived: list[Tensor] = []
        with self._climber.step(), ruled(rule):
            if begun is None:
                leaf = self._image.leaf.detach().requires_grad_()
                picture = self._image.picture(leaf)
            else:
                leaf, picture = begun
            # Only the network's part of the gradient comes by way of this: penalties judge the picture itself.
            looked = picture.view_as(picture)
            if watch and looked.requires_grad:
                looked.register_hook(lambda gradient: arrived.append(_peaks(gradient) != 0))
            shown = looked
            if draw is not None:
                # Evaluated twice, a step is the same both times.
                self._random.set_state(draw)
                shown = transformed(looked, self._transforms, self._random)
            if rule == "plain":
                self._climber.narrow(shown)
            values = self._climber.values(picture, shown)
            gradient = sent_back(torch.stack([each.float() for each in values.values()]).sum(), leaf)
        if watch and not self._asking:
            arrived = [_peaks(gradient) != 0]
        live = arrived[0].cpu() if arrived else torch.zeros_like(self.live)
        return _numbers(values), gradient, live


def total_of(values: Mapping[str, Tensor]) -> float:
    """Return the sum of all terms for all pictures."""
    return float(sum(each.sum() for each in values.values()))


def _numbers(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: each.detach().float().cpu() for name, each in values.items()}


def _peaks(gradient: Tensor) -> Tensor:
    """Return the largest magnitude in each picture's gradient [N]; NaN where there is one."""
    return gradient.flatten(1).abs().amax(1)
