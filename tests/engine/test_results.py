"""Results: what is read back is what was saved, and nothing else is believed."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies

import cnnviz_widgets as cv
from cnnviz_widgets.engine.errors import ResultFileError
from cnnviz_widgets.engine.results import Result, load_result


@dataclass(frozen=True, eq=False)
class Sample(Result):
    value: Any
    more: Any = None


dtypes = st.one_of(
    numpy_strategies.scalar_dtypes().filter(lambda dtype: dtype.itemsize > 0),
    numpy_strategies.unicode_string_dtypes(min_len=1),
)
arrays = dtypes.flatmap(
    lambda dtype: numpy_strategies.arrays(dtype, numpy_strategies.array_shapes(min_dims=0))
)
scalars = st.one_of(
    numpy_strategies.from_dtype(np.dtype(np.float32)),
    numpy_strategies.from_dtype(np.dtype(np.int64)),
    numpy_strategies.from_dtype(np.dtype(np.bool_)),
    numpy_strategies.from_dtype(np.dtype(np.complex128)),
)
# Surrogates, control characters and markup are in text() already.
plain = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text())
keys = st.one_of(st.text(), st.integers(), st.tuples(st.text(), st.integers()))
values = st.recursive(
    st.one_of(plain, arrays, scalars),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
        st.builds(Sample, inner, inner),
    ),
    max_leaves=12,
)


def alike(one: Any, other: Any) -> bool:
    """Compare by type and `repr`, or bytes: independent of `Result.__eq__`."""
    if isinstance(one, Sample):
        return type(other) is Sample and alike([one.value, one.more], [other.value, other.more])
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, dict):
        return alike(list(one.items()), list(other.items()))
    return repr(one) == repr(other)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(values)
def test_what_is_read_back_is_what_was_saved(tmp_path: Path, value: Any) -> None:
    saved = Sample(value)
    again = load_result(saved.save(tmp_path / "sample.npz"))
    assert type(again) is Sample
    assert alike(again.value, value)
    assert again == saved


def test_a_file_needs_no_suffix_and_gets_none(tmp_path: Path) -> None:
    path = Sample(1).save(str(tmp_path / "a result"))
    assert path == tmp_path / "a result"
    assert [each.name for each in tmp_path.iterdir()] == ["a result"]
    assert load_result(str(path)) == Sample(1)


def test_results_of_the_methods_are_known_to_a_fresh_start(tmp_path: Path) -> None:
    prediction = cv.Prediction(
        indices=np.array([2, 0]),
        labels=("<b>crane</b>", "\udcff"),
        probabilities=np.array([0.5, 0.25], np.float32),
    )
    path = prediction.save(tmp_path / "prediction.npz")
    known = dict(Result.kinds)
    try:
        del Result.kinds["Prediction"]
        with pytest.raises(ResultFileError, match="holds a 'Prediction', which this version does not know"):
            load_result(path)
    finally:
        Result.kinds.update(known)
    assert load_result(path) == prediction


# --- equality ---


def test_equality_is_that_of_class_and_values() -> None:
    array = np.array([1.0, np.nan], np.float32)
    assert Sample(array) == Sample(array.copy())
    assert Sample({("relu", 1): array}, (1, [array])) == Sample(
        {("relu", 1): array.copy()}, (1, [array.copy()])
    )
    assert Sample(float("nan")) == Sample(float("nan"))
    assert Sample(Sample(array)) == Sample(Sample(array.copy()))
    for other in (array.astype(np.float64), array[None], array + 1, array[:1], list(array), None):
        assert Sample(array) != Sample(other)
    assert Sample({1: array}) != Sample({2: array})
    assert Sample({1: array}) != Sample({1: array, 2: array})
    assert Sample([1, 2]) != Sample([1])
    assert Sample(1) != Sample(1.0)
    assert Sample(1) != 1


def test_results_are_frozen_and_have_no_hash() -> None:
    with pytest.raises(AttributeError):
        Sample(1).value = 2  # type: ignore[misc]
    with pytest.raises(TypeError, match="unhashable"):
        hash(Sample(1))


def test_every_result_compares_by_value() -> None:
    cv.import_methods()
    for kind in Result.kinds.values():
        assert kind.__eq__ is Result.__eq__, f"{kind.__name__} needs @dataclass(frozen=True, eq=False)"


# --- what a result can't hold ---


class Text(str):
    pass


@dataclass
class Box:
    top: int


@pytest.mark.parametrize(
    "value",
    [
        np.array([None]),
        np.array([(1, None)], dtype=[("a", int), ("b", object)]),
        np.ma.masked_array([1, 2], [True, False]),
        Text("a"),
        Box(1),
        {1, 2},
        b"bytes",
        1j,
        len,
        Path("a"),
        stat.ST_MODE.__class__,
        [{"deep": (object(),)}],
        {object(): 1},
    ],
    ids=lambda each: type(each).__name__,
)
def test_other_values_are_refused_before_a_file_appears(value: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="a result can't hold"):
        Sample(value).save(tmp_path / "sample.npz")
    assert not list(tmp_path.iterdir())


# --- all or nothing ---


def test_a_failed_save_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Sample("old").save(tmp_path / "sample.npz")

    def fail_half_way(file: Any, **arrays: Any) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", fail_half_way)
    with pytest.raises(KeyboardInterrupt):
        Sample("new").save(path)
    assert [each.name for each in tmp_path.iterdir()] == ["sample.npz"]
    assert load_result(path) == Sample("old")


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "sample.npz").mkdir()
    with pytest.raises(OSError, match="directory"):
        Sample(1).save(tmp_path / "sample.npz")
    assert [each.name for each in tmp_path.iterdir()] == ["sample.npz"]
    with pytest.raises(FileNotFoundError):
        Sample(1).save(tmp_path / "missing" / "sample.npz")


def test_the_longest_file_name_works(tmp_path: Path) -> None:
    assert load_result(Sample(1).save(tmp_path / ("x" * 255))) == Sample(1)


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_a_saved_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    path = Sample(1).save(tmp_path / "sample.npz")
    other = tmp_path / "other"
    other.touch()
    assert path.stat().st_mode == other.stat().st_mode


# --- files that are not to be trusted ---


def archive(path: Path, **entries: Any) -> Path:
    np.savez_compressed(path, **entries)
    return path


def header(content: Any) -> Any:
    return np.frombuffer(json.dumps(content).encode(), np.uint8)


FORMAT = "cnnviz_widgets result 1"


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_result(tmp_path / "nowhere.npz")


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", bytes(range(256))])
def test_other_files(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    path.write_bytes(content)
    with pytest.raises(ResultFileError, match=r"other.npz is not a saved result, or was cut short"):
        load_result(path)


def test_an_array_file_and_a_plain_archive(tmp_path: Path) -> None:
    np.save(tmp_path / "array.npy", np.arange(3))
    for path in (tmp_path / "array.npy", archive(tmp_path / "plain.npz", a=np.arange(3))):
        with pytest.raises(ResultFileError, match="is not a saved result"):
            load_result(path)


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {"format": FORMAT},
        {"format": FORMAT, "result": []},
        {"format": FORMAT, "result": {"array": "header"}},
        {"format": FORMAT, "result": {"result": []}},
        {"format": FORMAT, "result": {"result": "Sample", "fields": []}},
        {"format": FORMAT, "result": {"result": "Sample", "fields": {"surprise": 1}}},
        {"format": FORMAT, "result": {"result": "Sample", "fields": {"value": {"array": "array7"}}}},
        {"format": FORMAT, "result": {"result": "Sample", "fields": {"value": {"dict": [[[], 1]]}}}},
        {"format": FORMAT, "result": {"result": "Sample", "fields": {"value": {"call": "os.system"}}}},
    ],
    ids=str,
)
def test_headers_that_make_no_sense(content: Any, tmp_path: Path) -> None:
    path = archive(tmp_path / "odd.npz", header=header(content))
    with pytest.raises(ResultFileError, match="is not a saved result"):
        load_result(path)


def test_another_format_and_an_unknown_result(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", header=header({"format": "cnnviz_widgets result 2", "result": {}}))
    with pytest.raises(
        ResultFileError, match=r"has format 'cnnviz_widgets result 2'; this version reads '.* 1'"
    ):
        load_result(path)
    unknown = {"format": FORMAT, "result": {"result": "Popen", "fields": {"args": "true"}}}
    with pytest.raises(ResultFileError, match="holds a 'Popen', which this version does not know"):
        load_result(archive(tmp_path / "b.npz", header=header(unknown)))


class Hostile:
    def __reduce__(self) -> Any:
        return os.mkdir, ("opened",)


def test_no_pickle_is_ever_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = {"format": FORMAT, "result": {"result": "Sample", "fields": {"value": {"array": "array0"}}}}
    path = archive(
        tmp_path / "hostile.npz", header=header(content), array0=np.array([Hostile()], dtype=object)
    )
    with pytest.raises(ResultFileError, match="allow_pickle"):
        load_result(path)
    (tmp_path / "pickle").write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(ResultFileError):
        load_result(tmp_path / "pickle")
    assert not (tmp_path / "opened").exists()
    np.load(path, allow_pickle=True)["array0"]  # it is a loaded gun
    assert (tmp_path / "opened").exists()


def test_every_cut_of_a_file_is_noticed(tmp_path: Path) -> None:
    whole = Sample(np.arange(300) % 7, "text").save(tmp_path / "whole.npz").read_bytes()
    cut = tmp_path / "cut.npz"
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        with pytest.raises(ResultFileError):
            load_result(cut)


def test_damage_is_noticed_or_harmless(tmp_path: Path) -> None:
    saved = Sample(np.random.default_rng(0).integers(0, 9, 300), "text")
    whole = saved.save(tmp_path / "whole.npz").read_bytes()
    path = tmp_path / "damaged.npz"
    dice = random.Random(0)
    noticed = 0
    for _ in range(400):
        content = bytearray(whole)
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        path.write_bytes(content)
        try:
            assert load_result(path) == saved
        except ResultFileError:
            noticed += 1
    assert noticed > 200


def test_a_small_file_that_unpacks_to_too_much(tmp_path: Path) -> None:
    saved = Sample(np.zeros(10**6, np.uint8))
    path = saved.save(tmp_path / "bomb.npz")
    assert path.stat().st_size < 3000
    with pytest.raises(
        ResultFileError, match=r"bomb.npz unpacks to 1,000,\d+ bytes; allow it with max_bytes=1000"
    ):
        load_result(path, max_bytes=10**6)
    assert load_result(path, max_bytes=1_010_000) == saved


def test_an_array_that_claims_more_than_the_file_holds(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": (10**15,)})
    content = {"format": FORMAT, "result": {"result": "Sample", "fields": {"value": {"array": "array0"}}}}
    path = archive(tmp_path / "claim.npz", header=header(content))
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("array0.npy", buffer.getvalue())
    with pytest.raises(ResultFileError, match=r"claim.npz is not a saved result"):
        load_result(path)
