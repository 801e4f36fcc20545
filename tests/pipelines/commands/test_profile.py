"""What `headrace profile` prints of a profile that ingest wrote."""

import json

import numpy as np
import polars as pl
import pytest

from headrace.components.errors import DataError
from headrace.components.evaluation.drift import VersionProfile, compare
from headrace.components.evaluation.settings import DriftLimits
from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.statistics.profile import profile_of, summarize_table
from headrace.pipelines.commands.profile import show_profile
from headrace.pipelines.params import load_pipeline
from headrace.pipelines.paths import PipelinePaths

COLUMNS = {
    "age": NumberFeature(nullable=True),
    "image": ImageFeature(height=1, width=2),
    "[bold]sex": CategoryFeature(),
    "id": CategoryFeature(),
}


def summary(shift=0.0):
    random = np.random.default_rng(1)
    table = pl.DataFrame(
        {
            "age": random.normal(30 + shift, 5, 500),
            "image": pl.Series(random.integers(0, 256, (500, 2), dtype=np.uint8), dtype=pl.Array(pl.UInt8, 2)),
            "[bold]sex": ["female", "female", "male", "\x1b[2J"] * 125,
            "id": [str(number) for number in range(500)],
        }
    )
    return summarize_table(table.with_columns(pl.when(pl.col("age") < 40).then("age")), columns=COLUMNS)


@pytest.fixture
def pipeline_and_paths(repository, tmp_path):
    paths = PipelinePaths(tmp_path, "digits")
    paths.reports.mkdir(parents=True)
    return load_pipeline(repository / "params.yaml", "digits"), paths


def write(paths, version):
    paths.profile.write_text(version.model_dump_json(indent=2) + "\n")


def test_a_line_for_each_column_and_one_for_each_shift(pipeline_and_paths, capsys):
    before = profile_of(summary())
    drift = compare(before, summary(shift=8), label="[bold]sex", limits=DriftLimits())
    write(pipeline_and_paths[1], VersionProfile(profile=profile_of(summary(shift=8)), drift=drift))
    show_profile(*pipeline_and_paths, as_json=False)
    shown = capsys.readouterr().out
    lines = {line.split()[0]: line for line in shown.splitlines() if line}
    assert {"age", "image", "[bold]sex", "id"} < lines.keys()
    assert "number" in lines["age"]
    assert "█" in lines["age"]
    assert "3 categories, female 50%" in lines["[bold]sex"]
    assert "\x1b" not in shown
    reported = [line.split()[1:3] for line in shown.splitlines() if line.startswith("warn")]
    assert ["age", "mean"] in reported


def test_the_first_version_has_no_drift_and_json_is_as_it_is_kept(pipeline_and_paths, capsys):
    write(pipeline_and_paths[1], VersionProfile(profile=profile_of(summary())))
    show_profile(*pipeline_and_paths, as_json=False)
    assert "since the version before" not in capsys.readouterr().out
    show_profile(*pipeline_and_paths, as_json=True)
    assert json.loads(capsys.readouterr().out) == json.loads(pipeline_and_paths[1].profile.read_text())


def test_without_a_profile_the_error_says_what_writes_it(pipeline_and_paths):
    with pytest.raises(DataError, match=r"no profile .*`headrace ingest digits` writes it"):
        show_profile(*pipeline_and_paths, as_json=False)
    pipeline_and_paths[1].profile.write_text("{}")
    with pytest.raises(DataError, match="an unreadable profile"):
        show_profile(*pipeline_and_paths, as_json=False)
