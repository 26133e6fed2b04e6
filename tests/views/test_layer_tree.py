"""The tree's Python side: what it takes, what can be selected, what other viewers see."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from traitlets import TraitError

from cnnviz_widgets.views.layer_tree import LayerTree


def layer(name, kind="Conv2d", parameters=0, shapes=((4, 8, 8),)):
    return SimpleNamespace(name=name, kind=kind, parameters=parameters, output_shapes=shapes)


LAYERS = [
    layer("body", "Sequential", 2_359_296),
    layer("body.conv", parameters=2_359_296),
    layer("body.relu", "ReLU", shapes=((4, 8, 8), (4, 4, 4), None)),
    layer("lstm", "LSTM", 12, shapes=(None,)),
    layer("aux", "Linear", 11, shapes=()),
]


@pytest.fixture
def tree():
    return LayerTree(LAYERS)


def test_rows_hold_plain_numbers_and_one_shape_a_call(tree):
    assert tree._rows[2] == {
        "name": "body.relu",
        "kind": "ReLU",
        "shapes": [[4, 8, 8], [4, 4, 4], None],
        "parameters": 0,
    }


def test_selecting_tells_observers_once_both_are_in_place(tree):
    tree.select("body.conv")
    seen = []
    tree.observe(lambda _: seen.append((tree.selected, tree.selected_call)), ["selected", "selected_call"])
    tree.select("body.relu", 1)
    assert set(seen) == {("body.relu", 1)}
    tree.select("")
    assert seen[-1] == ("", -1)


def test_a_layer_called_once_is_selected_by_its_name_alone(tree):
    tree.selected = "body.conv"
    assert (tree.selected, tree.selected_call) == ("body.conv", -1)


@pytest.mark.parametrize(
    ("name", "call", "said"),
    [
        ("body.con", -1, "no layer 'body.con'"),
        ("body.relu", -1, "called 3 times"),
        ("body.relu", 3, "from 0 to 2"),
        ("body.relu", 2, "no tensor"),
        ("body.conv", 0, "called once"),
        ("lstm", -1, "no tensor"),
        ("aux", -1, "never calls it"),
        ("", 0, "no layer is named"),
    ],
)
def test_what_cannot_be_selected_is_refused_and_changes_nothing(tree, name, call, said):
    tree.select("body.relu", 0)
    with pytest.raises(TraitError, match=said):
        tree.select(name, call)
    assert (tree.selected, tree.selected_call) == ("body.relu", 0)


def test_the_page_sends_name_and_call_in_one_message(tree):
    tree.set_state({"selected": "body.relu", "selected_call": 1})
    assert (tree.selected, tree.selected_call) == ("body.relu", 1)
    with pytest.raises(TraitError):
        tree.set_state({"selected": "body.conv", "selected_call": 1})


def test_small_trees_begin_whole_and_large_ones_with_two_levels(tree):
    assert tree._expanded == ["body", "body.relu"]
    many = [layer(f"stage{index // 10}.block{index % 10}.conv") for index in range(50)]
    assert LayerTree(many)._expanded == [f"stage{index}" for index in range(5)]


def test_two_layers_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two are called 'b'"):
        LayerTree([layer("a"), layer("b"), layer("b")])


def test_other_viewers_see_an_indented_tree(tree):
    data, _ = tree._repr_mimebundle_()
    assert data["text/plain"].splitlines() == [
        "body  Sequential  4 \u00d7 8 \u00d7 8  2,359,296 parameters",
        "  conv  Conv2d  4 \u00d7 8 \u00d7 8  2,359,296 parameters",
        "  relu  ReLU  4 \u00d7 8 \u00d7 8  4 \u00d7 4 \u00d7 4  no tensor",
        "lstm  LSTM  no tensor  12 parameters",
        "aux  Linear  never called  11 parameters",
    ]
    assert "application/vnd.jupyter.widget-view+json" in data


def test_names_stay_as_they_are_and_lines_one_line():
    name, kind = "<img src=x onerror=alert(1)>", "two\nlines"
    tree = LayerTree([layer(name, kind)])
    assert tree._rows[0]["name"] == name
    assert tree.to_text() == f"{name}  two lines  4 \u00d7 8 \u00d7 8"


def test_what_the_shapes_are_can_be_said(tree):
    assert (tree.shapes, tree.missing) == ("output", "not a layer")
    kernels = LayerTree([layer("body.conv")], shapes="kernels", missing="no kernels")
    assert (kernels.shapes, kernels.missing) == ("kernels", "no kernels")


def test_no_layers_is_a_tree_too():
    assert LayerTree([]).to_text() == "no layers"
