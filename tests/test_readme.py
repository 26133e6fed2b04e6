"""The README's code runs as it stands, and the documents name nothing that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"]


def code_blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text("utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [code for name, code in blocks if name == language]


def test_the_code_runs():
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    names = {"module": module}
    for block in code_blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    assert names["browser"].wait(60)
    assert names["maps"].maps.shape == names["browser"].result.maps.shape
    assert tuple(names["seen"]["features.3"].shape) == (1, 128, 55, 55)
    readme = (ROOT / "README.md").read_text("utf-8")
    assert str(names["field"].box(10, 20)) in readme
    eye = names["cv"].receptive_field(names["cv"].samples.squeezenet(), "features.9").box(4, 3)
    assert str(eye) in readme
    assert ", ".join(map(str, names["at_the_eye"].argsort()[::-1][:2])) in readme
    names["browser"].close()


def test_the_error_reads_as_it_is_shown():
    import cnnviz_widgets as cv

    with pytest.raises(LookupError) as caught:
        cv.samples.squeezenet().layer("feature.3")
    assert any(str(caught.value) in block for block in code_blocks(""))


def test_there_are_two_commands():
    commands = [block.strip() for block in code_blocks("") if block.startswith("make")]
    assert commands == ["make demo", "make test"]
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert all(f"\n{command.removeprefix('make ')}:" in makefile for command in commands)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_are_named_exist(document):
    text = (ROOT / document).read_text("utf-8")
    named = {
        *re.findall(r"\]\((?!http)([^)]+)\)", text),
        *re.findall(r"`((?:[\w.]+/)+[\w.]*)`", text),
    }
    places = [ROOT, ROOT / "cnnviz_widgets"]
    missing = {name for name in named if not any((place / name).exists() for place in places)}
    assert not missing
