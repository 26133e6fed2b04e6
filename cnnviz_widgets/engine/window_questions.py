"""What is asked at each place of a window: a target, the most probable class, the total of a feature map."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnviz_widgets.engine.capture import apart
from cnnviz_widgets.engine.errors import OutputError, TargetError
from cnnviz_widgets.engine.incremental import Question, WindowPasses
from cnnviz_widgets.engine.targets import Target, class_index, probabilities

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network


class Asked:
    """What is to be found out at each place: as questions to a pass, and as what the answers mean."""

    def __init__(
        self, net: Network, x: Tensor, target: Target, most_probable: bool, feature_map: Any
    ) -> None:
        self.net, self.target, self.feature_map = net, target, _checked_map(feature_map)
        # What is not there is said before anything long begins.
        self.most_probable = most_probable
        self.one_class = False
        with apart(net):
            self.baseline = float(target.scores(net, x)[0])
            self.questions = [self._question(x)]
            if most_probable:
                net.class_scores(x)
                self.questions.append(Question())
            if self.feature_map is not None:
                self.feature_map.scores(net, x)
                self.questions.append(Question(self.feature_map.layer, self.feature_map.channel))

    def _question(self, x: Tensor) -> Question:
        """Return what must be known of a pass for the target: for the logit of a class, that class only."""
        if self.target.layer is not None:
            return Question(self.target.layer, self.target.channel)
        if callable(self.target.what) or self.target.of == "probability" or self.most_probable:
            return Question()
        classes = self.net.class_scores(x).shape[1]
        self.one_class = classes > 1
        return Question(channel=class_index(self.net, self.target.what, classes) if self.one_class else None)

    def fields(self, passes: WindowPasses, rows: int, columns: int) -> dict[str, Any]:
        """Return the fields of a result that hang on what is asked, with nothing measured yet."""
        with_map = self.feature_map is not None
        clean = passes.plain(passes.x) if self.most_probable or with_map else []
        return {
            "baseline": self.baseline,
            "classes": np.full((rows, columns), -1, np.int64) if self.most_probable else None,
            "baseline_class": int(_most_probable(clean[1])[0]) if self.most_probable else None,
            "activations": np.full((rows, columns), np.nan, np.float32) if with_map else None,
            "baseline_activation": float(_totals(clean[-1])[0]) if with_map else None,
        }

    def read(self, answers: list[Tensor]) -> dict[str, NDArray[Any]]:
        """Return what the answers of a batch mean, one number for each image, by the name of the result's field.

        One answer more than was asked for is what the scores lack.
        """
        scores = self.scores(answers)
        if len(answers) > len(self.questions):
            scores = scores + answers[-1]
        if not bool(torch.isfinite(scores).all()):
            raise OutputError(
                f"{self.target!r} is NaN or infinite where the window covers a part of this image"
            )
        # NumPy knows no bfloat16.
        found = {"scores": scores.float() if scores.dtype.itemsize < 4 else scores}
        if self.most_probable:
            if not bool(torch.isfinite(answers[1]).all()):
                raise OutputError(
                    "class scores are NaN or infinite where the window covers a part of this image"
                )
            found["classes"] = _most_probable(answers[1])
        if self.feature_map is not None:
            found["activations"] = _totals(answers[-1])
        return {name: each.detach().cpu().numpy() for name, each in found.items()}

    def scores(self, answers: list[Tensor]) -> Tensor:
        """Return the target's value for each image of a batch, [N]."""
        answer = answers[0]
        if self.target.layer is not None:
            return replace(self.target, channel=0).of_layer(answer)
        if callable(self.target.what):
            return self.target.of_output(answer)
        return answer[:, 0] if self.one_class else self.target.of_scores(self.net, answer)


def _most_probable(scores: Tensor) -> Tensor:
    """Return the index of the most probable class [N] for class scores [N, K]; one score is that of class 1 of two."""
    return probabilities(scores).argmax(1)


def _totals(maps: Tensor) -> Tensor:
    """Return the sum over one channel's map, [N]."""
    return maps.flatten(1).sum(1, dtype=torch.promote_types(maps.dtype, torch.float32))


def _checked_map(given: Any) -> Target | None:
    if given is None:
        return None
    if not isinstance(given, Target) or given.layer is None or given.position is not None:
        raise TargetError(f"feature_map= is a channel, Target(layer=..., channel=...); got {given!r}")
    return given
