"""Splits that `headrace.fit` does not hold in memory: data sets of functions, and Parquet files by windows."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest

from headrace.components.errors import DataError, ParamsError
from headrace.components.training.feeding.given_parquet import GivenParquet
from headrace.components.training.feeding.split_arrays import Columns
from headrace.pipelines.fit.given_splits import given_splits, split_digest
from headrace.pipelines.fit.program import fit
from headrace.pipelines.ray_train.fit_data import made_by

PROGRAM = '''\
"""Trains from a PyDataset, from Parquet files by windows, and from the same rows in memory."""

import json
import sys
from functools import partial

import keras
import numpy as np
import polars as pl

import headrace

SEED, BATCHES, BATCH = 3, 5, 8


class Drawn(keras.utils.PyDataset):
    """Batches that follow from their index."""

    def __init__(self, *, part: str, batches: int = BATCHES):
        super().__init__()
        self.part, self.batches = len(part), batches

    @property
    def num_batches(self):
        return self.batches

    def __getitem__(self, index):
        x = np.random.default_rng((self.part, index)).normal(size=(BATCH, 2))
        return {"a": x[:, :1], "b": x[:, 1:]}, x.sum(axis=1, keepdims=True)


def build_model():
    inputs = {name: keras.Input((1,), name=name) for name in ("a", "b")}
    hidden = keras.layers.Dense(4, activation="tanh")(keras.layers.Concatenate()(list(inputs.values())))
    model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


def by_keras():
    keras.utils.set_random_seed(SEED)
    model = build_model()
    data, held_out = Drawn(part="train"), Drawn(part="held out", batches=2)
    history = model.fit(data, validation_data=held_out, epochs=2, shuffle=False, verbose=0).history
    return history["val_loss"], model


def weights(model):
    return [weight.tolist() for weight in model.get_weights()]


if __name__ == "__main__":
    settings = {"epochs": 2, "num_workers": 2, "seed": SEED}
    batches = headrace.fit(
        build_model,
        train=partial(Drawn, part="train"),
        validation=partial(Drawn, part="held out", batches=2),
        shuffle=False,
        best_by="last",
        folder="runs/batches",
        **settings,
    )
    expected, plain = by_keras()
    found = {
        "batches": [batches.history["validation_loss"], weights(batches.model)],
        "keras": [expected, weights(plain)],
    }
    windows = {"label": "y", "global_batch_size": 8, "window_examples": 32, **settings}
    for name, data in (("disk", "parts"), ("memory", pl.read_parquet("parts/*.parquet"))):
        result = headrace.fit(build_model, train=data, folder=f"runs/{name}", **windows)
        found[name] = [result.history["loss"], weights(result.model)]
    print(json.dumps(found))
'''


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
def test_workers_train_from_a_function_and_from_files_what_keras_and_memory_train(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    write_parts(tmp_path / "parts", rows=100)

    ended = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    found = json.loads(ended.stdout.splitlines()[-1])
    np.testing.assert_allclose(found["batches"][0], found["keras"][0], rtol=1e-5)
    for one, other in zip(found["batches"][1], found["keras"][1], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert found["disk"] == found["memory"]  # bit for bit


def write_parts(folder: Path, rows: int) -> pl.DataFrame:
    folder.mkdir()
    draw = np.random.default_rng(0)
    table = pl.DataFrame({"a": draw.normal(size=rows), "b": draw.normal(size=rows)}).with_columns(
        y=pl.col("a") + pl.col("b")
    )
    for place in range(0, rows, 60):
        table[place : place + 60].write_parquet(folder / f"{place:03d}.parquet")
    return table


OWN = """\
import own_numbers


def build_nothing(): ...


def batches(*, part: str, rows: int = 4): return own_numbers.NUMBER, part, rows


def generated():
    yield 1
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "own_data.py").write_text(OWN, encoding="utf-8")
    (tmp_path / "own_numbers.py").write_text("NUMBER = 7\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("own_data")
    for name in ("own_data", "own_numbers"):
        del sys.modules[name]


def splits_of(data: object, window_examples: int | None = None) -> dict:
    return given_splits({"train": data, "validation": None}, label="y", weight=None, window_examples=window_examples)


def test_a_function_is_known_by_its_code_and_arguments(own):
    [split] = splits_of(partial(own.batches, part="a")).values()

    assert made_by(split)() == (7, "a", 4)
    assert sorted(split.sources) == ["own_data.py", "own_numbers.py"]
    assert split_digest(split) == split_digest(*splits_of(partial(own.batches, part="a")).values())
    assert split_digest(split) != split_digest(*splits_of(partial(own.batches, part="b")).values())


def test_an_argument_of_another_type_is_refused_by_name(own):
    with pytest.raises(ParamsError, match=r"own_data\.py: batches.*part"):
        splits_of(partial(own.batches, part=7))


def test_files_are_read_by_windows_where_these_are_given_and_else_into_memory(tmp_path):
    write_parts(tmp_path / "parts", rows=100)

    assert isinstance(splits_of(tmp_path / "parts", window_examples=32)["train"], GivenParquet)
    assert isinstance(splits_of(tmp_path / "parts")["train"], Columns)


X, Y = np.zeros((8, 2)), np.zeros(8)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda own: {"train": own.generated}, DataError, "train: generated is a generator, whose next batch"),
        (lambda own: {"train": own.generated()}, DataError, "train: found a generator, whose next batch"),
        (lambda own: {"train": iter([1])}, DataError, "train: found a list_iterator, whose next batch"),
        (lambda own: {"train": partial(own.batches, "a")}, ParamsError, "train: expected the arguments of functools"),
        (lambda own: {"train": own.batches}, ParamsError, "batches: needs the argument 'part'"),
        (lambda own: {"train": partial(own.batches, parts="a")}, ParamsError, "takes no argument 'parts'"),
        (
            lambda own: {"train": partial(own.batches, part=X)},
            ParamsError,
            "train: argument['part']: expected a number",
        ),
        (lambda own: {"train": lambda: 1}, ParamsError, "<lambda> is made within another function"),
        (
            lambda own: {"train": partial(own.batches, part="a"), "global_batch_size": 4},
            ParamsError,
            "global_batch_size is 4, and the batches of the dataset are the global batches",
        ),
        (
            lambda own: {"train": partial(own.batches, part="a"), "window_examples": 4},
            ParamsError,
            "window_examples= is for Parquet files",
        ),
        (lambda own: {"train": (X, Y)}, ParamsError, "train: examples need global_batch_size="),
    ],
)
def test_what_has_no_position_or_size_is_refused_before_any_work(change, error, said, own, tmp_path):
    with pytest.raises(error) as refused:
        fit(own.build_nothing, folder=tmp_path / "run", epochs=1, **change(own))

    assert said in str(refused.value)
    assert not (tmp_path / "run" / "fit.json").exists()


@pytest.mark.parametrize("make", ["keras", "tensorflow"])
def test_a_data_set_as_an_object_is_refused_with_what_to_give(make, own, tmp_path):
    data: Callable[[], object]
    if make == "keras":
        import keras

        data = keras.utils.PyDataset()
    else:
        import tensorflow as tf

        data = tf.data.Dataset.range(3)

    with pytest.raises(DataError, match=r"can't be sent to other processes; .*train=functools\.partial\(make_batches"):
        fit(own.build_nothing, train=data, folder=tmp_path / "run", epochs=1, global_batch_size=4)
