"""Rules of the house that no linter knows, checked on the text of the sources."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "cnnviz_widgets"
# What changes a module, or hangs something on it. Only the engine does, which puts it back.
CHANGES_MODULES = re.compile(r"train|eval|requires_grad_|register_\w*hook\w*")
# The samples may set the mode of the networks they have just built themselves.
SAMPLES_MAY = {"eval"}
UNSAFE_HTML = re.compile(r"\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function)")


def module_changes(source: str) -> list[str]:
    """The names of the calls in a source that change a torch module."""
    calls = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    names = [call.attr for call in calls if isinstance(call, ast.Attribute)]
    return [name for name in names if CHANGES_MODULES.fullmatch(name)]


def python_files() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "engine" not in path.relative_to(PACKAGE).parts)


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_engine_changes_modules(path):
    allowed = SAMPLES_MAY if path.is_relative_to(PACKAGE / "samples") else set()
    assert not set(module_changes(path.read_text("utf-8"))) - allowed


def test_the_check_sees_what_it_looks_for():
    source = """
def look(net, module):
    module.train(False)
    net.core.eval()
    module.weight.requires_grad_(False)
    module.register_full_backward_hook(print)
    next(iter([module])).register_forward_pre_hook(print)
    module.weight.register_post_accumulate_grad_hook(print)
    module.train_size, module.evaluate(), train(module)
"""
    assert sorted(module_changes(source)) == [
        "eval",
        "register_forward_pre_hook",
        "register_full_backward_hook",
        "register_post_accumulate_grad_hook",
        "requires_grad_",
        "train",
    ]


def test_the_front_end_makes_text_and_never_html():
    sources = sorted((ROOT / "js/src").rglob("*.ts"))
    assert sources
    found = [
        f"{path.relative_to(ROOT)}: {match}"
        for path in sources
        for match in UNSAFE_HTML.findall(path.read_text())
    ]
    assert not found


def test_imports_point_one_way() -> None:
    """What `make lint` checks as well: the contracts of import-linter in pyproject.toml."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert checked.returncode == 0, checked.stdout + checked.stderr
