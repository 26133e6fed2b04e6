"""Where the front-end modules of the views are."""

from __future__ import annotations

from pathlib import Path

STATIC = Path(__file__).resolve().parent.parent / "static"


def bundle(view: str) -> Path:
    """Return the built JavaScript module of a view.

    Raises
    ------
    FileNotFoundError
        Where it wasn't built: a clone needs one run of the build, an installed package never does.
    """
    path = STATIC / f"{view}.js"
    if not path.is_file():
        raise FileNotFoundError(
            f"the front-end module {path} is missing; in a clone, build it with "
            "`npm ci && npm run build` in the folder js, otherwise install the package again"
        )
    return path
