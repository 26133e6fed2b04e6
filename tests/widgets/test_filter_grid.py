"""The filter grid without a page: what it shows, what can be set, and where errors go."""

from __future__ import annotations

import io
import json
import threading
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from traitlets import TraitError

import cnnviz_widgets as cv

SOON = 60.0


class Stages(nn.Module):
    """A colored first layer with a planted pair, a grouped one, a depthwise one, 1x1 ones; and no forward pass."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.first = nn.Conv2d(3, 9, 5)
        self.relu = nn.ReLU()
        self.body = nn.Sequential(nn.Conv2d(9, 12, (3, 4), groups=3), nn.Conv2d(12, 12, 3, groups=12))
        self.point = nn.Conv2d(12, 8, 1)
        rows = torch.linspace(-1, 1, 5)
        with torch.no_grad():
            # One smooth kernel, the same turned and weaker, and one of zeros; all others are noise.
            self.first.weight[2] = rows[:, None] * torch.tensor([1.0, 2.0, 3.0])[:, None, None] + rows * 0.3
            self.first.weight[7] = -0.5 * self.first.weight[2].rot90(1, (1, 2))
            self.first.weight[4] = 0


def _network(module: nn.Module | None = None) -> cv.Network:
    return cv.Network(module or Stages(), input=cv.InputSpec(size=32, mean=0.4, std=0.2))


@pytest.fixture
def filters() -> cv.FilterGrid:
    return cv.FilterGrid(_network(), "first")


def _shown(grid: Any) -> np.ndarray:
    """The tiles' values as they travel to the page, in their own order."""
    return grid._payload().carried()


def test_it_shows_what_the_method_returns_and_its_params_give_it_again(filters: cv.FilterGrid) -> None:
    assert filters.params == {"layer": "first"}
    assert filters.result == cv.kernels(filters.net, **filters.params)
    weights = filters.net.module.first.weight.detach().numpy()
    step = np.ptp(weights) / 65531
    np.testing.assert_allclose(_shown(filters.parts.grid), weights.transpose(0, 2, 3, 1), atol=step)
    np.testing.assert_allclose(_shown(filters.parts.inputs), weights[0], atol=step)
    badges = filters.parts.grid._badges
    assert [badges[str(index)] for index in range(9)] == list(filters.result.verdicts)
    assert (badges["2"], badges["7"], badges["4"]) == ("smooth", "smooth", "zero")


def test_options_are_those_of_the_method_and_belong_to_params() -> None:
    filters = cv.FilterGrid(_network(), "first", smooth_percentile=5.0, shuffles=99, min_similarity=0.95)
    assert filters.params == {
        "layer": "first",
        "smooth_percentile": 5.0,
        "shuffles": 99,
        "min_similarity": 0.95,
    }
    assert filters.result == cv.kernels(filters.net, **filters.params)
    assert filters.result.thresholds["smooth_percentile"] == 5.0


def test_the_layer_s_verdict_stands_on_top_with_its_p_value(filters: cv.FilterGrid) -> None:
    result = filters.result
    assert result is not None
    text = filters.parts.summary.value
    assert result.layer_verdict in text
    assert ("Smooth is no proof of health" in text) is (result.layer_verdict == "structured")
    assert f"p = {result.layer_p_value:.3g}" in text
    assert "9 kernels of 3 &times; 5 &times; 5" in text
    counted = [f"{result.verdicts.count(each)} {each}" for each in ("smooth", "zero")]
    assert all(each in text for each in counted)


def test_a_click_shows_the_numbers_and_the_reason(filters: cv.FilterGrid) -> None:
    result = filters.result
    assert result is not None
    filters.parts.grid.selected = 7
    assert filters.kernel == 7
    text = filters.parts.numbers.value
    assert "kernel 7" in text
    assert result.reasons[7] in text
    assert f"{result.roughness[7]:.4g}" in text
    norm = np.linalg.norm(result.weights[7].astype(np.float64).ravel())
    assert f"<td>{norm:.4g}</td>" in text
    # The zero kernel has no roughness to tell.
    filters.kernel = 4
    assert filters.parts.grid.selected == 4
    assert "&ndash;" in filters.parts.numbers.value
    assert "nan" not in filters.parts.numbers.value.lower()


def test_near_duplicates_stand_side_by_side_with_turn_and_cosine(filters: cv.FilterGrid) -> None:
    assert filters.result is not None
    assert [sorted(group.members.tolist()) for group in filters.result.duplicates] == [[2, 7]]
    assert filters.group == 0
    members = filters.parts.members
    first = int(filters.result.duplicates[0].members[0])
    other = {2: 7, 7: 2}[first]
    assert members._labels == [f"kernel {first}", f"kernel {other} \u00b7 cosine 1.000"]
    # The second is the first, turned a quarter counterclockwise; or back, if the order is the other one.
    assert members._badges == {"0": "first", "1": f"negated rotate {90 if first == 2 else 270}"}
    weights = filters.result.weights[[first, other]].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(_shown(members), weights, atol=np.ptp(weights) / 65531)
    members.selected = 1
    assert filters.kernel == other
    assert "cosine above" in filters.parts.duplicates.value
    filters.layer = "body.1"
    assert filters.wait(SOON)
    assert filters.group is None
    assert members.layout.display == "none"


@pytest.mark.parametrize("sort", ["kernel index", "verdict", "roughness percentile", "norm"])
def test_sorting_orders_the_tiles_by_what_it_says(filters: cv.FilterGrid, sort: str) -> None:
    result = filters.result
    assert result is not None
    filters.sort = sort
    ranks = ["smooth", "mixed", "noisy", "zero", "cannot tell"]
    keys: dict[str, Any] = {
        "kernel index": lambda index: index,
        "verdict": lambda index: ranks.index(result.verdicts[index]),
        "roughness percentile": lambda index: (
            np.inf if np.isnan(result.percentile[index]) else result.percentile[index]
        ),
        "norm": lambda index: -float(np.linalg.norm(result.weights[index].ravel())),
    }
    assert filters.parts.grid.order.tolist() == sorted(range(9), key=keys[sort])
    assert filters.parts.sorting.value == sort


def test_the_filter_leaves_the_kernels_of_one_verdict(filters: cv.FilterGrid) -> None:
    filters.verdict = "smooth"
    assert filters.parts.grid.order.tolist() == [2, 7]
    filters.sort = "norm"
    assert filters.parts.grid.order.tolist() == [2, 7]
    filters.parts.verdicts.value = "zero"
    assert filters.verdict == "zero"
    assert filters.parts.grid.order.tolist() == [4]
    filters.verdict = "cannot tell"
    assert filters.parts.grid.order.tolist() == []
    assert filters.to_png() is None
    assert "smooth" in filters.to_text()


def test_grouped_kernels_are_those_that_read_the_chosen_input_channel(filters: cv.FilterGrid) -> None:
    filters.layer = "body.0"
    assert filters.wait(SOON)
    assert filters.view == "input channel"
    filters.input_channel = 4
    weights = filters.net.module.body[0].weight.detach().numpy()
    # 9 channels in 3 groups: channel 4 is the second of the second group, which kernels 4 to 7 read.
    assert filters.parts.grid.order.tolist() == [4, 5, 6, 7]
    expected = weights[4:8, 1]
    np.testing.assert_allclose(_shown(filters.parts.grid)[4:8], expected, atol=np.ptp(weights) / 65531)
    filters.kernel = 5
    assert filters.parts.inputs._labels == ["3", "4", "5"]
    filters.layer = "body.1"
    assert filters.wait(SOON)
    assert filters.parts.grid.order.tolist() == list(range(12))
    assert filters.parts.channel.layout.display == "none"


def test_kernels_of_1x1_are_a_matrix_whose_rows_are_chosen(filters: cv.FilterGrid) -> None:
    filters.layer = "point"
    assert filters.wait(SOON)
    assert filters.view == "matrix"
    matrix = filters.net.module.point.weight.detach().numpy()[:, :, 0, 0]
    np.testing.assert_allclose(_shown(filters.parts.grid)[0], matrix, atol=np.ptp(matrix) / 65531)
    filters.parts.grid.position = [6, 2]
    assert filters.kernel == 6
    np.testing.assert_array_equal(filters.parts.bars._values, matrix[6])
    assert "1x1 kernel has no neighboring entries" in filters.parts.numbers.value
    filters.kernel = 1
    assert filters.parts.grid.position == [1, 0]
    assert filters.parts.grid.axes == ["kernel", "input channel"]


def test_norms_are_a_matrix_of_all_kernels_and_inputs(filters: cv.FilterGrid) -> None:
    filters.view = "norms"
    weights = filters.net.module.first.weight.detach().numpy().astype(float)
    norms = np.array([[np.linalg.norm(one.ravel()) for one in kernel] for kernel in weights])
    np.testing.assert_allclose(_shown(filters.parts.grid)[0], norms, atol=norms.max() / 65531)
    assert filters.parts.grid.enlarged == 0
    filters.view = "color"
    assert filters.parts.grid.enlarged == -1
    assert filters.parts.grid.count == 9


@pytest.mark.parametrize(
    ("name", "value", "error", "text"),
    [
        ("layer", "frist", LookupError, "did you mean 'first'"),
        ("layer", "relu", ValueError, "no two-dimensional kernels.*'first'"),
        ("layer", 3, TypeError, "3"),
        ("kernel", 9, ValueError, "kernels 0 to 8, got 9"),
        ("kernel", -1, ValueError, "got -1"),
        ("input_channel", 3, ValueError, "input channels 0 to 2, got 3"),
        ("view", "matrix", ValueError, r"\['color', 'input channel', 'norms'\], got 'matrix'"),
        ("group", 1, ValueError, "groups of near-duplicates 0 to 0, got 1"),
        ("sort", "color", TraitError, "color"),
        ("verdict", "rough", TraitError, "rough"),
    ],
)
def test_a_wrong_value_raises_at_once_and_changes_nothing(
    filters: cv.FilterGrid, name: str, value: Any, error: type[Exception], text: str
) -> None:
    before = getattr(filters, name)
    with pytest.raises(error, match=text):
        setattr(filters, name, value)
    assert getattr(filters, name) == before
    assert filters.result == cv.kernels(filters.net, **filters.params)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "text"),
    [
        ((nn.Conv2d(3, 4, 3),), {}, TypeError, r"cv.Network\(module\)"),
        ((_network(), "frist"), {}, LookupError, "did you mean 'first'"),
        ((_network(), "first"), {"kernel": 9}, ValueError, "got 9"),
        ((_network(),), {"smoothness": 3}, TypeError, "'smoothness'.*smooth_percentile"),
        ((_network(),), {"shuffles": 9}, ValueError, "shuffles=99"),
        ((_network(nn.Sequential(nn.Flatten(), nn.Linear(3072, 2))),), {}, ValueError, "no Conv2d"),
    ],
)
def test_what_can_not_be_made_says_why(
    arguments: tuple[Any, ...], options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        cv.FilterGrid(*arguments, **options)


def test_a_layer_that_can_not_be_read_is_an_error_in_the_widget_and_shows_nothing_old(
    filters: cv.FilterGrid,
) -> None:
    with torch.no_grad():
        filters.net.module.body[0].weight[3, 0, 0, 0] = torch.nan
    filters.layer = "body.0"
    assert filters.wait(SOON)
    assert "WeightsError" in filters.status.value
    assert "the first one is 3" in filters.status.value
    assert filters.result is None
    assert filters.parts.grid.count == 0
    assert not filters.parts.summary.value
    assert "not judged" in filters.to_text()
    filters.layer = "first"
    assert filters.wait(SOON)
    assert "WeightsError" not in filters.status.value
    assert filters.parts.grid.count == 9


def test_refresh_reads_the_kernels_again(filters: cv.FilterGrid) -> None:
    with torch.no_grad():
        filters.net.module.first.weight[2] = 0
    assert filters.result is not None
    assert filters.result.verdicts[2] == "smooth"
    filters.refresh()
    assert filters.wait(SOON)
    assert filters.parts.grid._badges["2"] == "zero"
    assert filters.group is None


def test_the_kernel_is_free_while_a_job_runs(filters: cv.FilterGrid, monkeypatch: pytest.MonkeyPatch) -> None:
    from cnnviz_widgets.widgets import kernels as module

    go = threading.Event()

    def slow(*arguments: Any, **options: Any) -> cv.Kernels:
        go.wait(SOON)
        return cv.kernels(*arguments, **options)

    monkeypatch.setattr(module, "kernels", slow)
    filters.layer = "point"
    assert filters.busy
    assert "judging the kernels of point" in filters.parts.running.value
    # What is still on show is not taken for kernels of the new layer.
    assert 'role="alert"' not in filters.status.value
    filters.kernel = 5
    with pytest.raises(ValueError, match="wait"):
        filters.group = 0
    go.set()
    assert filters.wait(SOON)
    assert (filters.result.layer, filters.kernel, filters.busy) == ("point", 5, False)
    assert "judging" not in filters.parts.running.value


def test_the_page_chooses_layers_among_those_with_kernels(filters: cv.FilterGrid) -> None:
    assert [row["name"] for row in filters.parts.tree._rows] == ["first", "body.0", "body.1", "point"]
    assert filters.parts.tree._rows[1]["shapes"] == [[12, 3, 3, 4]]
    filters.kernel = 8
    filters.parts.tree.selected = "point"
    assert filters.layer == "point"
    assert filters.kernel == 0
    assert filters.wait(SOON)
    assert filters.parts.tree.selected == "point"
    filters.layer = ("first", 0)
    assert filters.layer == "first"


def test_viewers_without_widgets_get_a_picture_and_a_text(filters: cv.FilterGrid) -> None:
    bundle = filters._repr_mimebundle_()
    picture = filters.to_png()
    assert picture is not None
    # Nine kernels of 5 x 5, each enlarged 32 times: four columns and two pixels between.
    width = 4 * 160 + 3 * 2
    assert Image.open(io.BytesIO(picture)).width == width
    assert "image/png" in bundle
    text = bundle["text/plain"]
    assert "together structured" in text
    assert f"kernel 0: {filters.result.verdicts[0]}" in text
    assert "near-duplicates: " in text


def test_layer_names_are_text() -> None:
    class Hostile(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add_module("<img src=x onerror=alert(1)>", nn.Conv2d(3, 8, 3))

    filters = cv.FilterGrid(_network(Hostile()))
    assert "<img" not in filters.parts.summary.value
    assert "&lt;img" in filters.parts.summary.value


def test_a_wide_layer_s_saved_state_stays_under_four_megabytes() -> None:
    filters = cv.FilterGrid(_network(nn.Sequential(nn.Conv2d(1024, 2048, 1))), "0")
    grids = (filters.parts.grid, filters.parts.members, filters.parts.inputs)
    size = sum(len(json.dumps(grid._get_embed_state())) for grid in grids)
    assert size < 3_950_000
