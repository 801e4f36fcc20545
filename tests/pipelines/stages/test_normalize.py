"""The normalize stage, and that nothing it fits has seen a validation or a test example."""

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.components.errors import DataError
from headrace.components.examples.shards import scan, write
from headrace.components.examples.splits import assign_split
from headrace.components.transforms.fitted_table import FittedTable
from headrace.pipelines.params import Pipeline, load_pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.stages.ingest import ingest
from headrace.pipelines.stages.normalize import normalize
from headrace.pipelines.stages.split import split

IMPUTE = {"kind": "impute", "strategy": "median", "indicator": True}
MOST_FREQUENT = {"kind": "impute", "strategy": "most_frequent"}


def make_pipeline(transforms=None, **split_settings):
    return Pipeline.model_validate(
        {
            "name": "weather",
            "description": "Does it rain tomorrow?",
            "ingest": {
                "source": {"kind": "bundled", "dataset": "digits"},
                "features": {
                    "pressure": {"type": "number"},
                    "wind": {"type": "number", "nullable": True},
                    "sky": {"type": "category", "nullable": True},
                },
                "label": {"type": "category", "name": "rain", "classes": ["no", "yes"]},
            },
            "normalize": {
                "transforms": transforms
                or {
                    "wind": [IMPUTE, {"kind": "standardize"}],
                    "sky": [MOST_FREQUENT, {"kind": "one_hot"}],
                    "pressure": [{"kind": "min_max"}],
                }
            },
            "split": {"seed": 3, "validation_fraction": 0.2, "test_fraction": 0.2, **split_settings},
            "train": {
                "model": {"layers": []},
                "optimizer": {"kind": "adam", "learning_rate": 0.01},
                "global_batch_size": 8,
                "epochs": 1,
            },
            "evaluate": {},
            "register": {"thresholds": {}, "compare": {"metric": "accuracy"}},
        }
    )


def make_examples(rows=200):
    random = np.random.default_rng(5)
    wind = pl.Series(random.gamma(2.0, 5.0, rows))
    return pl.DataFrame(
        {
            "example_id": np.sort(random.integers(0, 2**64, rows, dtype=np.uint64)),
            "pressure": random.normal(1013, 8, rows),
            "wind": wind.scatter(range(0, rows, 7), None),
            "sky": pl.Series(random.choice(["clear", "cloudy", "fog"], rows)).scatter(range(0, rows, 11), None),
            "rain": random.choice(["no", "yes"], rows),
        }
    )


@pytest.fixture
def paths(tmp_path):
    return PipelinePaths(tmp_path, "weather")


def test_writes_every_example_transformed_in_the_order_of_params(paths):
    examples = make_examples()
    write(examples, paths.examples)
    normalize(make_pipeline(), paths)
    normalized = scan(paths.normalized).collect()
    assert normalized.schema == {
        "example_id": pl.UInt64,
        "wind": pl.Array(pl.Float32, 2),
        "sky": pl.Array(pl.Float32, 4),
        "pressure": pl.Float32,
        "label": pl.Int32,
    }
    assert normalized["example_id"].equals(examples["example_id"])
    assert normalized["label"].to_list() == [int(answer == "yes") for answer in examples["rain"]]
    wind = normalized["wind"].to_numpy()
    assert np.isfinite(wind).all()
    assert wind[:, 1].tolist() == examples["wind"].is_null().cast(pl.Float32).to_list()


def test_statistics_are_the_training_rows_and_normalize_them(paths):
    pipeline, examples = make_pipeline(), make_examples()
    write(examples, paths.examples)
    normalize(pipeline, paths)
    fitted = FittedTable.model_validate_json(paths.statistics.read_text())
    split_of = assign_split(pipeline.split, columns=())
    training = scan(paths.normalized).filter(split_of == "train").collect()
    assert fitted.training_examples == training.height
    assert list(fitted.features) == ["wind", "sky", "pressure"]
    assert (training["pressure"].min(), training["pressure"].max()) == (0, 1)
    assert training["wind"].arr.first().mean() == pytest.approx(0, abs=1e-6)
    assert training["wind"].arr.first().std(ddof=0) == pytest.approx(1, abs=1e-6)


def test_a_second_run_gives_the_same_bytes(paths):
    write(make_examples(), paths.examples)
    normalize(make_pipeline(), paths)
    first = contents(paths.normalized)
    normalize(make_pipeline(), paths)
    assert contents(paths.normalized) == first


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


CHANGES = {
    "pressure": st.floats(-1e6, 1e6),
    "wind": st.none() | st.floats(0, 1e6),
    "sky": st.none() | st.sampled_from(["clear", "hail", ""]),
}


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(column=st.sampled_from(sorted(CHANGES)), place=st.integers(0, 199), data=st.data())
def test_no_validation_or_test_value_reaches_the_statistics_or_the_training_split(paths, column, place, data):
    pipeline, examples = make_pipeline(), make_examples()
    split_of = assign_split(pipeline.split, columns=())
    held_out = examples.with_row_index().filter(split_of != "train")["index"]
    value = data.draw(CHANGES[column])
    changed = examples.with_columns(examples[column].scatter(held_out[place % len(held_out)], value))
    outcomes = []
    for table in (examples, changed):
        write(table, paths.examples)
        normalize(pipeline, paths)
        split(pipeline, paths)
        outcomes.append((paths.statistics.read_bytes(), contents(paths.splits / "train")))
    assert outcomes[0] == outcomes[1]


def test_a_given_test_set_is_never_fitted(paths):
    examples = make_examples().with_columns(given_split=pl.Series(["train", "test"] * 100))
    examples = examples.with_columns(pl.when(given_split="test").then(1e9).otherwise("pressure").alias("pressure"))
    write(examples, paths.examples)
    normalize(make_pipeline(test_fraction=0.0), paths)
    fitted = FittedTable.model_validate_json(paths.statistics.read_text())
    assert fitted.features["pressure"].transforms[0].maximum < 2000
    assert scan(paths.normalized).collect()["given_split"].to_list() == ["train", "test"] * 100


def test_a_failed_run_leaves_the_last_result(paths):
    write(make_examples(), paths.examples)
    normalize(make_pipeline(), paths)
    before = contents(paths.normalized)
    write(make_examples().with_columns(wind=pl.lit(None, pl.Float64)), paths.examples)
    with pytest.raises(DataError, match="wind: missing in every training example"):
        normalize(make_pipeline(), paths)
    assert contents(paths.normalized) == before
    assert json.loads(paths.statistics.read_text())["training_examples"] > 0


@pytest.mark.parametrize(("name", "width"), [("titanic", 42), ("takeoff", 2), ("digits", 64)])
def test_real_tables_are_normalized_and_split(repository, shared_data, tmp_path, monkeypatch, name, width):
    monkeypatch.setenv("HEADRACE_MIRROR", str(shared_data))
    pipeline, paths = load_pipeline(repository / "params.yaml", name), PipelinePaths(tmp_path, name)
    ingest(pipeline, paths)
    normalize(pipeline, paths)
    split(pipeline, paths)
    fitted = FittedTable.model_validate_json(paths.statistics.read_text())
    assert sum(feature.width for feature in fitted.features.values()) == width
    training = scan(paths.splits / "train").collect()
    assert training.height == fitted.training_examples
    columns = [training[feature].to_numpy().reshape(training.height, -1) for feature in fitted.features]
    values = np.concatenate(columns, axis=1)
    assert np.isfinite(values).all()
    for place in np.flatnonzero(values.min(axis=0) < 0):  # standardized columns; shares and pixels start at 0
        np.testing.assert_allclose(values[:, place].mean(dtype=np.float64), 0, atol=1e-6)
        np.testing.assert_allclose(values[:, place].std(dtype=np.float64), 1, atol=1e-6)
