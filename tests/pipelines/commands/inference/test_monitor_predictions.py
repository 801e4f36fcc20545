"""`headrace monitor` on real predictions of a real registered version."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from headrace.components.errors import DataError, LimitError, ParamsError
from headrace.components.evaluation.monitor_settings import Monitor
from headrace.pipelines.commands.inference.monitor_predictions import monitor_predictions
from headrace.pipelines.commands.inference.predictions import write_predictions

UNLABELLED = ("toss", "spin", "metal")


def predict(coins, folder: Path, rows: list, name: str = "first") -> Path:
    folder.mkdir(exist_ok=True)
    file = coins.write(folder / f"{name}.csv", rows, columns=UNLABELLED)
    write_predictions(
        coins.pipeline,
        coins.paths,
        input_file=file,
        output_file=folder / f"{name}.parquet",
        alias="champion",
        keep_inputs=True,
    )
    return folder


def monitored(coins, folder: Path, **options) -> dict:
    """The report; alerts are in it, and raised as well."""
    settings = {"labels_path": None, "alias": "champion", "since": None, "as_json": False} | options
    output = folder / "report"
    try:
        monitor_predictions(coins.pipeline, coins.paths, input_path=folder, output=output, **settings)
    except LimitError as error:
        report = json.loads((output / "monitoring.json").read_text())
        assert report["alerts"] > 0 and error.exit_code == 3
        return report
    report = json.loads((output / "monitoring.json").read_text())
    assert report["alerts"] == 0
    return report


def levels(report: dict, level: str) -> list[str]:
    return [one["sentence"] for one in report["findings"] if one["level"] == level]


def test_predictions_keep_their_rows_and_name_their_version(coins, tmp_path):
    rows = coins.tosses(50, seed=2)
    folder = predict(coins, tmp_path / "predictions", rows)
    table = pl.read_parquet(folder / "first.parquet")
    predicted = ["row", "toss", "prediction", "probability_tails", "probability_heads"]
    assert table.columns[:5] == predicted
    assert set(table.columns[5:]) == {"input.spin", "input.metal"}
    assert table["input.spin"].to_list() == [float(row[1]) for row in rows]
    header = json.loads(pl.read_parquet_metadata(folder / "first.parquet")["headrace_predictions"])
    assert (header["pipeline"], header["version"], header["input"]) == ("coins", 1, "first.csv")


def test_more_of_the_same_is_no_alert_and_labels_give_metrics(coins, tmp_path, capsys):
    rows = coins.tosses(800, seed=3)
    folder = predict(coins, tmp_path / "predictions", rows)
    labels = coins.write(tmp_path / "labels.csv", rows[:600], columns=("toss", "side"))
    report = monitored(coins, folder, labels_path=labels)
    assert (report["rows"], report["labelled_rows"], report["version"]) == (800, 600, 1)
    truth = pl.read_csv(labels)["side"]
    predicted = pl.read_parquet(folder / "first.parquet")["prediction"][:600]
    assert report["metrics"]["accuracy"] == pytest.approx((truth == predicted).mean())
    low, high = report["intervals"]["accuracy"]
    assert low < report["metrics"]["accuracy"] < high
    assert "coins version 1: 0 alerts" in capsys.readouterr().out
    page = (folder / "report" / "monitoring.html").read_text()
    assert "<h1>coins, version 1</h1>" in page and "Metrics" in page


def test_a_report_is_the_same_however_few_rows_are_read_at_a_time(coins, tmp_path, monkeypatch):
    rows = coins.tosses(300, seed=12)
    folder = predict(coins, tmp_path / "predictions", rows)
    again = [*rows[100:120], *rows[110:130]]  # in a later file, some of them twice
    predict(coins, folder, again, name="second")
    labels = coins.write(tmp_path / "labels.csv", rows[:250], columns=("toss", "side"))
    whole = monitored(coins, folder, labels_path=labels)
    assert (whole["rows"], whole["labelled_rows"]) == (300, 250)
    monkeypatch.setattr("headrace.pipelines.artifacts.predictions_table._ROWS_AT_ONCE", 7)
    in_batches = monitored(coins, folder, labels_path=labels)
    assert in_batches | {"checked_at": 0} == whole | {"checked_at": 0}


def test_drift_of_inputs_predictions_and_new_categories_is_an_alert(coins, tmp_path):
    rows = [
        [*row[:2], "copper" if place % 5 == 0 else row[2], row[3]]
        for place, row in enumerate(coins.tosses(500, seed=4, shift=3))
    ]
    report = monitored(coins, predict(coins, tmp_path / "predictions", rows))
    found = " | ".join(levels(report, "alert"))
    assert "spin: psi" in found
    assert "prediction: prediction_psi" in found
    assert "metal: new_categories 0.2 (copper) is above 0.05" in found


def test_worse_than_when_it_was_registered_is_named_with_its_slice(coins, tmp_path):
    rows = coins.tosses(2000, seed=5)
    flipped = [[*row[:3], {"heads": "tails", "tails": "heads"}[row[3]] if row[2] == "gold" else row[3]] for row in rows]
    folder = predict(coins, tmp_path / "predictions", rows)
    labels = coins.write(tmp_path / "labels.csv", flipped, columns=("toss", "side"))
    report = monitored(coins, folder, labels_path=labels)
    found = " | ".join(levels(report, "alert"))
    assert "metal gold: accuracy" in found and "metal tin" not in found
    assert "all rows: accuracy" in found and "shown to be worse than when it was registered by more than 0.02" in found


def test_without_guards_that_of_the_gates_metric_is_taken(coins, tmp_path):
    rows = coins.tosses(400, seed=11)
    folder = predict(coins, tmp_path / "predictions", rows)
    flipped = [[*row[:3], {"heads": "tails", "tails": "heads"}[row[3]]] for row in rows]
    labels = coins.write(tmp_path / "labels.csv", flipped, columns=("toss", "side"))
    pipeline = coins.pipeline.model_copy(update={"monitor": Monitor()})
    with pytest.raises(LimitError, match=r"all rows: accuracy -0.*shown to be worse than when it was registered"):
        monitor_predictions(
            pipeline,
            coins.paths,
            input_path=folder,
            labels_path=labels,
            alias="1",
            since=None,
            output=tmp_path / "report",
            as_json=True,
        )


def test_few_rows_are_no_evidence(coins, tmp_path):
    report = monitored(coins, predict(coins, tmp_path / "predictions", coins.tosses(12, seed=6, shift=1)))
    assert levels(report, "alert") == []
    assert any("by chance" in one or "fewer rows than" in one for one in levels(report, "ok"))


def test_the_last_prediction_of_a_row_counts_and_since_leaves_files_out(coins, tmp_path):
    rows = coins.tosses(300, seed=7)
    folder = predict(coins, tmp_path / "predictions", rows)
    predict(coins, folder, rows[:100], name="second")
    assert monitored(coins, folder)["rows"] == 300
    with pytest.raises(DataError, match="no predictions since"):
        monitored(coins, folder, since=datetime.now(UTC) + timedelta(days=1))


def test_what_is_not_there_is_said_in_one_line(coins, tmp_path):
    rows = coins.tosses(30, seed=8)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(
        DataError, match=r"no predictions in .*: expected \.parquet files; `headrace predict coins --keep"
    ):
        monitored(coins, empty)
    pl.DataFrame({"prediction": ["heads"]}).write_parquet(empty / "other.parquet")
    with pytest.raises(DataError, match=r"1 \.parquet files, none with predictions of coins and their rows"):
        monitored(coins, empty)
    with pytest.raises(ParamsError, match=r"has no coins@canary"):
        monitored(coins, empty, alias="canary")
    folder = predict(coins, tmp_path / "predictions", rows)
    others = coins.write(tmp_path / "others.csv", coins.tosses(5, seed=9, first=5000), columns=("toss", "side"))
    with pytest.raises(DataError, match=r"none of 5 labels has the toss of a prediction, of which there are 30"):
        monitored(coins, folder, labels_path=others)
    for columns, message in (
        (("side",), "expected the column toss in labels and predictions"),
        (("toss",), "has no column 'side', which is the label"),
    ):
        with pytest.raises(DataError, match=message):
            monitored(coins, folder, labels_path=coins.write(tmp_path / "l.csv", rows, columns=columns))
    twice = coins.write(tmp_path / "twice.csv", [*rows, rows[0]], columns=("toss", "side"))
    with pytest.raises(DataError, match="2 rows have the same toss"):
        monitored(coins, folder, labels_path=twice)
    wrong = coins.write(tmp_path / "wrong.csv", [[*rows[0][:3], "edge"]], columns=("toss", "side"))
    with pytest.raises(DataError, match=r"1 of 1 labels are no class of 'side', such as 'edge'; expected tails, heads"):
        monitored(coins, folder, labels_path=wrong)
    assert not (folder / "report").exists()
    with pytest.raises(ParamsError, match=r"--keep-inputs: give --output FILE\.parquet"):
        write_predictions(
            coins.pipeline,
            coins.paths,
            input_file=others,
            output_file=tmp_path / "out.csv",
            alias="champion",
            keep_inputs=True,
        )


@pytest.mark.slow
def test_the_command_ends_with_3_and_its_alerts_on_one_line(coins, tmp_path):
    folder = predict(coins, tmp_path / "predictions", coins.tosses(500, seed=10, shift=4))
    command = [
        sys.executable,
        "-m",
        "headrace",
        "monitor",
        "coins",
        "--input",
        str(folder),
        "--output",
        str(tmp_path / "o"),
    ]
    ended = subprocess.run(command, cwd=coins.root, capture_output=True, text=True, check=False)
    assert ended.returncode == 3, ended.stderr
    [line] = [one for one in ended.stderr.splitlines() if one.startswith("error:")]
    assert line.startswith("error: coins version 1, beyond its limits: ")
    assert "alert  spin: psi" in ended.stdout
