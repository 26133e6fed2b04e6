"""A scan on a real cluster of worker processes, one of which is killed in the middle."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask
import distributed
import joblib
import numpy as np
import pytest

import cnnviz_widgets as cv
from cnnviz_widgets.engine import scan_jobs
from cnnviz_widgets.engine.scan_jobs import workers
from tests.engine.scan_settings import COUNT, PICTURES, Images, Mortal, network


@contextmanager
def _forked() -> Iterator[None]:
    """Let workers come from a process that has loaded torch and nothing else: three times faster."""
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        context = distributed.utils.get_mp_context()
        context.set_forkserver_preload(["distributed", "tests.engine.scan_settings"])
        yield


@pytest.mark.slow
def test_a_cluster_loses_a_worker_in_the_middle(tmp_path: Path) -> None:
    net = network()
    layers = ["conv", "relu", "full"]
    patches = cv.top_patches(net, PICTURES, layers, k=3, batch_size=2)
    statistics = cv.activation_statistics(net, PICTURES, layers, batch_size=2)
    note = tmp_path / "killed"
    with (
        _forked(),
        distributed.LocalCluster(
            n_workers=3, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
        joblib.parallel_config(backend="dask"),
    ):
        assert workers(None) == 3
        before = set(client.run(os.getpid).values())
        steps = cv.top_patches.steps(net, Mortal(17, note), layers, k=3, batch_size=2, shards=15)
        seen = []
        while True:
            try:
                seen.append(next(steps).index + 1)
            except StopIteration as end:
                found = end.value
                break
        assert int(note.read_text()) in before, "no worker was killed"
        assert len(seen) == 15
        assert seen[-1] == COUNT
        spread = cv.activation_statistics(net, Mortal(17, note), layers, batch_size=2, shards=15)
        # Another worker is killed, and this process stops and goes on.
        options: dict[str, Any] = {"batch_size": 2, "shards": 15, "checkpoint": tmp_path / "scan"}
        images, tables = Mortal(17, tmp_path / "killed too"), tmp_path / "table"
        steps = cv.extract_features.steps(net, images, "conv", path=tables, **options)
        for _ in range(8):
            next(steps)
        steps.close()
        table = cv.extract_features(net, images, "conv", path=tables, **options)
        assert (tmp_path / "killed too").exists()
    assert {key: found[key] for key in found} == {key: patches[key] for key in patches}
    assert spread == statistics
    # What was left after the stop was cut anew, and a pass of other images may round otherwise.
    whole = cv.extract_features(net, Images(), "conv", batch_size=2)
    np.testing.assert_allclose(table.vectors, whole.vectors, rtol=1e-5, atol=1e-6)
    assert replace(table, vectors=whole.vectors) == whole


def test_what_a_dying_worker_has_refused_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Client:
        times = 0

        def scatter(self, data: list[Any], **options: Any) -> list[Any]:
            self.times += 1
            if self.times < fails:
                raise KeyError("tcp://127.0.0.1:42059")
            return data

    monkeypatch.setattr(scan_jobs, "_WAITS", (0.0, 0.0, 0.0))
    packed = np.zeros(3, np.uint8)
    fails = 3
    assert scan_jobs._scattered(Client(), packed) is packed
    fails = 100
    with pytest.raises(KeyError, match="42059"):
        scan_jobs._scattered(Client(), packed)
