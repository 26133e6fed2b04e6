"""What the sdist and the wheel hold, and that the wheel works where there is no node."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LARGEST_WHEEL = 8_000_000  # bytes


def run(*command: object, **options: object) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, timeout=170, **options
    )
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """The sdist, built from this tree with node at hand."""
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", folder, ROOT)
    (made,) = folder.glob("*.tar.gz")
    return made


@pytest.fixture(scope="module")
def no_node(tmp_path_factory):
    """An environment in which neither npm nor node can be found."""
    empty = tmp_path_factory.mktemp("empty-path")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**environment, "PATH": str(empty)}


@pytest.fixture(scope="module")
def wheel(sdist, no_node, tmp_path_factory):
    """The wheel, built from the sdist without node: the sdist's own bundles must do."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index")
    run(*pip, "--wheel-dir", folder, sdist, env=no_node)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def in_sdist(sdist):
    with tarfile.open(sdist) as archive:
        return {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}


@pytest.fixture(scope="module")
def in_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def tracked(*folders: str) -> set[str]:
    """The files of these folders that belong to the project, by name."""
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", *folders, cwd=ROOT)
    return {name for name in listed.splitlines() if (ROOT / name).is_file()}


def view_bundles() -> set[str]:
    """The bundle of each view with a TypeScript partner of the same name."""
    sources = {path.stem for path in (ROOT / "js/src").glob("*.ts") if not path.name.endswith(".d.ts")}
    views = {path.stem for path in (ROOT / "cnnviz_widgets/views").glob("*.py")}
    assert sources <= views, f"no views/*.py for js/src/{sources - views}"
    return {f"cnnviz_widgets/static/{name}.js" for name in sources}


def test_the_wheel_holds_the_package_and_nothing_else(in_wheel):
    others = {name for name in in_wheel if ".dist-info/" not in name} - tracked("cnnviz_widgets")
    assert others == view_bundles()


def test_the_wheel_misses_nothing(in_wheel):
    assert tracked("cnnviz_widgets") <= in_wheel
    assert view_bundles() <= in_wheel
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in in_wheel)


def test_the_sample_data_travels_with_its_licenses(in_wheel):
    data = {
        name.removeprefix("cnnviz_widgets/samples/data/") for name in in_wheel if "/samples/data/" in name
    }
    assert {"PROVENANCE.md", "squeezenet1_1_imagenet_fp16.npz", "fashion_mnist_subset.npz"} <= data
    assert sum(name.startswith("licenses/") for name in data) >= 4
    assert sum(name.startswith("photos/") for name in data) >= 10
    assert sum(name.startswith("fashion_cnn/") and name.endswith(".npz") for name in data) >= 10


def test_the_wheel_is_small_enough(wheel):
    assert wheel.stat().st_size <= LARGEST_WHEEL


def test_the_sdist_holds_sources_and_bundles(in_sdist):
    folders = ("benchmarks", "cnnviz_widgets", "js", "notebooks", "scripts", "tests")
    files = ("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md")
    assert tracked(*folders) <= in_sdist
    assert {*files, "hatch_build.py", "pyproject.toml"} <= in_sdist
    assert view_bundles() <= in_sdist
    assert "cnnviz_widgets/static/bundles.json" in in_sdist


def test_the_sdist_holds_nothing_that_was_installed(in_sdist):
    assert not {
        name for name in in_sdist if "node_modules" in name or ".venv" in name or "__pycache__" in name
    }


@pytest.fixture(scope="module")
def installed(wheel, no_node, tmp_path_factory):
    """The Python of an environment that holds the wheel alone; what it depends on is lent by this one."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # A path added this way does not have its own .pth files read, so this tree itself is not lent.
    (site / "lent.pth").write_text(
        sysconfig.get_path("purelib") + "\n" + sysconfig.get_path("platlib") + "\n"
    )
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--no-deps",
        "--no-index",
        wheel,
        env=no_node,
    )
    return python


def test_every_widget_is_constructed_from_the_wheel_without_node(installed, no_node, tmp_path):
    script = Path(__file__).with_name("construct_widgets.py")
    answer = json.loads(run(installed, "-I", script, env=no_node, cwd=tmp_path))
    assert Path(answer["file"]).is_relative_to(installed.parents[1])
    assert answer["widgets"] == answer["constructed widgets"]
    assert answer["views"] == answer["constructed views"]
    with_bundle = {Path(name).stem for name in view_bundles()}
    assert len(answer["bundle sizes"]) == len(with_bundle)
    assert min(answer["bundle sizes"].values()) > 200  # a linked map takes the module of the map it goes with
