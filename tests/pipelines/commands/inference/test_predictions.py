"""Predictions for raw rows and images."""

import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import polars as pl
import pytest
from PIL import Image

from headrace.components.errors import DataError, ParamsError
from headrace.components.examples.derive import with_derived
from headrace.components.serving_model.prediction_files import joined
from headrace.components.serving_model.saved_model import load_model
from headrace.components.sources import json_lines
from headrace.pipelines.artifacts.artifact import file_digest
from headrace.pipelines.commands.inference.prediction_input import open_input
from headrace.pipelines.commands.inference.prediction_output import deliver, show
from headrace.pipelines.commands.inference.predictions import predicted, write_predictions
from headrace.pipelines.params import Pipeline, load_pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.tracking.mlflow_runs import open_run
from headrace.pipelines.tracking.registry import create_version, log_model, set_champion


@pytest.fixture(scope="module")
def titanic(repository: Path) -> Pipeline:
    return load_pipeline(repository / "params.yaml", "titanic")


@pytest.fixture(scope="module")
def digits(repository: Path) -> Pipeline:
    return load_pipeline(repository / "params.yaml", "digits")


@pytest.fixture(scope="module")
def women_survive(tmp_path_factory: pytest.TempPathFactory, titanic: Pipeline) -> Path:
    """A model that reads Sex only, with all of Titanic's inputs: probability 0.9 for women, 0.1 for men."""
    file = tmp_path_factory.mktemp("model") / "model.keras"
    types = {name: titanic.ingest.features[name].type for name in titanic.normalize.transforms}
    inputs = {
        name: keras.Input((1,), dtype="string" if type_ == "category" else "float32", name=name)
        for name, type_ in types.items()
    }
    sex = keras.layers.StringLookup(vocabulary=["female", "male"], output_mode="one_hot")(inputs["Sex"])
    outputs = keras.layers.Dense(2, activation="softmax", use_bias=False, name="output")(sex)
    model = keras.Model(inputs, outputs)
    model.get_layer("output").set_weights([np.log([[0.5, 0.5], [0.1, 0.9], [0.9, 0.1]])])
    model.save(file)
    return file


def _row(**values: Any) -> dict[str, Any]:
    row = {
        "PassengerId": 892,
        "Pclass": 3,
        "Sex": "male",
        "Age": 34.5,
        "SibSp": 0,
        "Parch": 0,
        "Fare": 7.8,
        "Embarked": "Q",
        "Name": "Kelly, Mr. James",
        "Cabin": "C85",
    }
    return row | values


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_rows_in_any_format_give_the_same_predictions(
    tmp_path: Path, titanic: Pipeline, women_survive: Path, suffix: str
) -> None:
    table = pl.DataFrame([_row(), _row(PassengerId=893, Sex="female", Age=None, Embarked=None)])
    file = tmp_path / f"rows{suffix}"
    {".csv": table.write_csv, ".parquet": table.write_parquet, ".jsonl": table.write_ndjson}[suffix](file)

    found = joined(predicted(titanic, open_input(titanic, file), load_model(women_survive))).origin

    assert found.columns == ["row", "PassengerId", "prediction", "probability_0", "probability_1"]
    assert found["row"].to_list() == [1, 2]
    assert found["PassengerId"].cast(pl.Int64).to_list() == [892, 893]
    assert found["prediction"].to_list() == ["0", "1"]
    assert found["probability_1"].to_list() == pytest.approx([0.1, 0.9])


def test_rows_without_a_key_have_their_number(tmp_path: Path, repository: Path) -> None:
    takeoff = load_pipeline(repository / "params.yaml", "takeoff")
    (tmp_path / "rows.csv").write_text("speed,weight\n60,1500\n70,1600\n")
    origin, examples = joined(open_input(takeoff, tmp_path / "rows.csv").blocks)
    assert origin.to_dict(as_series=False) == {"row": [1, 2]}
    assert examples["speed"].to_list() == [60, 70]


def test_kaggles_test_file_is_predicted_whole(shared_data: Path, titanic: Pipeline, women_survive: Path) -> None:
    found = joined(
        predicted(titanic, open_input(titanic, shared_data / "titanic" / "test.csv"), load_model(women_survive))
    ).origin

    expected = pl.read_csv(shared_data / "titanic" / "gender_submission.csv", infer_schema=False)
    assert found["prediction"].to_list() == expected["Survived"].to_list()


def test_an_image_and_a_folder_of_images_are_rows_by_file_name(tmp_path: Path, digits: Pipeline) -> None:
    for name, color in (("b.png", 0), ("a.JPG", 255)):
        Image.new("L", (8, 8), color).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    image = keras.Input((8, 8, 1), name="image")
    outputs = keras.layers.Dense(10, activation="softmax", name="output")(keras.layers.Flatten()(image))
    model = keras.Model({"image": image}, outputs)
    model.get_layer("output").set_weights([np.zeros((64, 10)), np.eye(10)[3] * 9])
    model.save(tmp_path / "model.keras")

    found = joined(predicted(digits, open_input(digits, tmp_path), load_model(tmp_path / "model.keras"))).origin

    assert found.columns == ["file", "prediction", *(f"probability_{digit}" for digit in range(10))]
    assert found["file"].to_list() == ["a.JPG", "b.png"]
    assert found["prediction"].to_list() == ["3", "3"]
    assert joined(open_input(digits, tmp_path / "a.JPG").blocks)[1]["image"].to_list() == [[16] * 64]


def test_inputs_that_can_not_be_read_are_named(tmp_path: Path, titanic: Pipeline, digits: Pipeline) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.csv").touch()
    (tmp_path / "rows.xlsx").touch()
    (tmp_path / "other.csv").write_text("Pclass,sex\n1,male\n")
    for pipeline, name, error, message in [
        (titanic, "absent.csv", ParamsError, "no file"),
        (titanic, "a.png", ParamsError, "not images"),
        (digits, "empty", DataError, "no images in"),
        (titanic, "empty.csv", DataError, r"empty\.csv: expected a header line"),
        (titanic, "rows.xlsx", ParamsError, r"expected \.csv"),
        (titanic, "other.csv", DataError, r"other\.csv: no column 'Sex'.*did you mean 'sex'"),
    ]:
        with pytest.raises(error, match=message):
            joined(open_input(pipeline, tmp_path / name).blocks)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("893,3,male,34.5,0,0,7.8,Q,Kelly", r"rows\.csv, row 2: expected 10 values, found 9"),
        ("893,3,male,34.5,0,0,7.8,Q,Kelly,C85,", r"rows\.csv, row 2: expected 10 values, found 11"),
        ('893,3,male,34.5,0,0,7.8,Q,Kelly,"C85', r"rows\.csv, row 2: .* quote that is not closed"),
    ],
)
def test_a_row_that_is_cut_off_is_an_error_and_not_missing_values(
    tmp_path: Path, titanic: Pipeline, row: str, message: str
) -> None:
    text = pl.DataFrame([_row()]).write_csv()
    (tmp_path / "rows.csv").write_text(f"{text}{row}\n")
    with pytest.raises(DataError, match=message):
        joined(open_input(titanic, tmp_path / "rows.csv").blocks)


def test_the_output_must_be_csv_or_parquet_and_that_is_said_first(tmp_path: Path, titanic: Pipeline) -> None:
    with pytest.raises(ParamsError, match=r"must end in \.csv or \.parquet"):
        write_predictions(
            titanic,
            PipelinePaths(tmp_path, "titanic"),
            input_file=tmp_path / "absent.csv",
            output_file=tmp_path / "out.txt",
            alias="champion",
        )


def test_without_a_registered_model_nothing_is_written(
    tmp_path: Path, titanic: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    pl.DataFrame([_row()]).write_csv(tmp_path / "rows.csv")

    # A scheduler does not try it again: exit code 2.
    with pytest.raises(ParamsError, match="titanic@champion"):
        write_predictions(
            titanic,
            PipelinePaths(tmp_path, "titanic"),
            input_file=tmp_path / "rows.csv",
            output_file=tmp_path / "out.csv",
            alias="champion",
        )
    assert not (tmp_path / "out.csv").exists()


def test_the_registered_champion_predicts_to_a_file_and_to_standard_output(
    tmp_path: Path,
    titanic: Pipeline,
    women_survive: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    rows = pl.DataFrame([_row(), _row(Sex="[bold]?")])
    rows.write_csv(tmp_path / "rows.csv")
    _register(tmp_path, titanic, women_survive, example=with_derived(rows.head(1), titanic.ingest.features))
    paths, arguments = PipelinePaths(tmp_path, "titanic"), {"input_file": tmp_path / "rows.csv", "alias": "champion"}

    write_predictions(titanic, paths, output_file=tmp_path / "out.csv", **arguments)
    write_predictions(titanic, paths, output_file=tmp_path / "out.parquet", **arguments)
    write_predictions(titanic, paths, output_file=None, **arguments)

    written = pl.read_csv(tmp_path / "out.csv")
    assert written["probability_1"].to_list() == pytest.approx([0.1, 0.5])
    assert pl.read_parquet(tmp_path / "out.parquet").columns == written.columns
    assert (tmp_path / "out.csv").read_text() in capsys.readouterr().out


def test_on_a_terminal_ten_probabilities_become_that_of_the_prediction(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes this for a terminal
    classes = {f"probability_{index}": [index / 45] * 51 for index in range(10)}
    show([pl.DataFrame({"file": ["[red]a.png"] * 51, "prediction": ["9"] * 51, **classes})])

    shown = capsys.readouterr().out
    assert "[red]a.png" in shown
    assert "0.2" in shown
    assert "probability_0" not in shown
    assert "and 1 more rows" in re.sub(r"\x1b\[[0-9;]*m", "", shown)


def _register(root: Path, pipeline: Pipeline, model_file: Path, *, example: pl.DataFrame) -> None:
    run_id = open_run(root, experiment="headrace/titanic", run_name="r", tags={}, params={})
    features = {name: pipeline.ingest.features[name] for name in pipeline.normalize.transforms}
    types = {name: pl.String if feature.type == "category" else pl.Float64 for name, feature in features.items()}
    model_id = log_model(
        root,
        pipeline.name,
        run_id=run_id,
        model_file=model_file,
        features=features,
        label=pipeline.ingest.label,
        example=example.select(list(features)).cast(types),
        trained_on=pl.Series([1, 2], dtype=pl.UInt64),
    )
    tags = {"model_sha256": file_digest(model_file)}
    version = create_version(root, pipeline.name, run_id=run_id, model_id=model_id, tags=tags)
    set_champion(root, pipeline.name, version.number)


@pytest.mark.slow
def test_after_a_restored_backup_the_champion_and_its_predictions_are_those_of_before(
    project_root: Path, titanic: Pipeline, women_survive: Path, tmp_path: Path
) -> None:
    rows = pl.DataFrame([_row(), _row(PassengerId=893, Sex="female")])
    _register(project_root, titanic, women_survive, example=with_derived(rows, titanic.ingest.features))
    rows.write_csv(tmp_path / "rows.csv")
    (project_root / "params.yaml").write_bytes(Path("params.yaml").read_bytes())

    def headrace(*arguments: str) -> str:
        command = [sys.executable, "-m", "headrace", *arguments]
        ended = subprocess.run(command, cwd=project_root, capture_output=True, text=True, check=False, timeout=200)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    headrace("predict", "titanic", "--input", f"{tmp_path}/rows.csv", "--output", f"{tmp_path}/before.csv")
    assert "titanic up to version 1" in headrace("backup", f"{tmp_path}/a.backup")
    for place in project_root.glob("mlflow.db*"):
        place.unlink()
    shutil.rmtree(project_root / "mlartifacts")
    shutil.rmtree(project_root / ".headrace")
    headrace("restore", f"{tmp_path}/a.backup")
    headrace("predict", "titanic", "--input", f"{tmp_path}/rows.csv", "--output", f"{tmp_path}/after.csv")

    assert (tmp_path / "after.csv").read_bytes() == (tmp_path / "before.csv").read_bytes()
    shown = headrace("models", "titanic")
    assert "champion" in shown


def test_cells_that_begin_like_a_formula_are_counted_or_made_text_in_csv(
    tmp_path: Path, titanic: Pipeline, cases: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    origin, _ = joined(open_input(titanic, cases / "predict" / "formula.csv").blocks)
    predictions = origin.with_columns(prediction=pl.lit("-1"))
    for name, escape, written in (
        ("plain.csv", False, "=cmd|calc"),
        ("escaped.csv", True, "'=cmd|calc"),
        ("plain.parquet", False, "=cmd|calc"),
    ):
        deliver([predictions], tmp_path / name, escape_formulas=escape)
        output = capsys.readouterr().out
        read = pl.read_csv if name.endswith(".csv") else pl.read_parquet
        assert read(tmp_path / name)["PassengerId"].to_list() == [written]
        assert ("--escape-formulas" in output) == (name == "plain.csv")
    assert "cells=1" in re.sub(r"\x1b\[[0-9;]*m", "", _plain_log(predictions, tmp_path, capsys))


def _plain_log(predictions: pl.DataFrame, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    deliver([predictions], folder / "again.csv", escape_formulas=False)
    return capsys.readouterr().out


def test_a_mistake_far_down_leaves_nothing_behind_and_names_its_row(
    tmp_path: Path, titanic: Pipeline, women_survive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(json_lines, "json_blocks", partial(json_lines.json_blocks, block_bytes=600))
    rows = pl.DataFrame([_row(PassengerId=place) for place in range(40)])
    _register(tmp_path, titanic, women_survive, example=with_derived(rows.head(1), titanic.ingest.features))
    lines = rows.write_ndjson().splitlines()
    lines[36] = lines[36].replace('"Fare":7.8', '"Fare":"much"')
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")

    with pytest.raises(DataError, match=r"rows\.jsonl, row 37, column 'Fare': expected a number, found 'much'"):
        write_predictions(
            titanic,
            PipelinePaths(tmp_path, "titanic"),
            input_file=tmp_path / "rows.jsonl",
            output_file=tmp_path / "out" / "predictions.parquet",
            alias="champion",
        )
    assert list((tmp_path / "out").iterdir()) == []
