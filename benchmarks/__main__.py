"""Run the benchmarks and print their table."""

from __future__ import annotations

import os
import platform
import sys

import torch

from benchmarks import capture, embedding, maximization, occlusion, players, scan, tile_grid, training
from benchmarks._timing import Row, table

ROWS = {
    **capture.ROWS,
    **embedding.ROWS,
    **maximization.ROWS,
    **occlusion.ROWS,
    **players.ROWS,
    **scan.ROWS,
    **tile_grid.ROWS,
    **training.ROWS,
}


def main(names: list[str]) -> int:
    """Run the named rows, or all; return 0 whether or not the targets are reached: they are for people."""
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(ROWS)}", file=sys.stderr)
        return 2
    rows: list[Row] = []
    for name in names or ROWS:
        print(f"running {name} ...", file=sys.stderr, flush=True)
        rows.append(ROWS[name]())
    print(
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"torch {torch.__version__} with {torch.get_num_threads()} threads\n"
    )
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
