"""`headrace evaluate --input` and `headrace shadow`: registered versions on new rows."""

import json

import polars as pl
import pytest

from headrace.components.errors import DataError, LimitError, ParamsError
from headrace.pipelines.commands.inference.labelled_rows import evaluate_rows
from headrace.pipelines.commands.inference.shadow_models import shadow_models


@pytest.fixture(scope="module")
def rivals(registered_coins, tmp_path_factory):
    """A copy that more versions may be registered in."""
    return registered_coins.copy(tmp_path_factory.mktemp("rivals") / "a project")


def test_new_rows_are_scored_with_intervals_and_nothing_else_is_written(coins, tmp_path, capsys):
    before = sorted(coins.root.rglob("*"))
    rows = coins.tosses(400, seed=21, first=10_000)
    file = coins.write(tmp_path / "labelled.csv", rows)
    evaluate_rows(coins.pipeline, coins.paths, input_file=file, alias="champion", output_file=tmp_path / "out.parquet")
    found = json.loads(capsys.readouterr().out)
    expected = sum((float(row[1]) > 0) == (row[3] == "heads") for row in rows) / 400
    assert found["accuracy"] == pytest.approx(expected)
    assert (found["model"], found["version"], found["examples"], found["trained_on"]) == ("coins", 1, 400, 0)
    low, high = found["intervals"]["accuracy"]
    assert low < expected < high
    outcomes = pl.read_parquet(tmp_path / "out.parquet")
    assert outcomes["toss"].to_list() == [row[0] for row in rows]
    assert (outcomes["target"] == outcomes["prediction"]).mean() == pytest.approx(expected)
    assert sorted(coins.root.rglob("*")) == before


def test_rows_that_it_was_trained_on_are_counted(coins, capsys):
    evaluate_rows(coins.pipeline, coins.paths, input_file=coins.root / "coins.csv", alias="champion", output_file=None)
    found = json.loads("{" + capsys.readouterr().out.partition("{")[2])  # after the warning
    assert found["trained_on"] == sum(
        pl.read_parquet(coins.paths.splits / name).height for name in ("train", "validation")
    )


def test_bad_input_is_one_line(coins, tmp_path):
    rows = coins.tosses(10, seed=22)
    options = {"alias": "champion", "output_file": None}
    unlabelled = coins.write(tmp_path / "unlabelled.csv", rows, columns=("toss", "spin", "metal"))
    with pytest.raises(DataError, match="side"):
        evaluate_rows(coins.pipeline, coins.paths, input_file=unlabelled, **options)
    rows[3][3] = "edge"
    wrong = coins.write(tmp_path / "wrong.csv", rows)
    with pytest.raises(DataError, match=r"wrong.csv: 1 of 10 labels are no class of 'side', such as 'edge'"):
        evaluate_rows(coins.pipeline, coins.paths, input_file=wrong, **options)
    rows[3][3] = "heads"
    with pytest.raises(ParamsError, match="no version 9 of 'coins' is registered; there are: 1"):
        right = coins.write(tmp_path / "right.csv", rows)
        evaluate_rows(coins.pipeline, coins.paths, input_file=right, alias="9", output_file=None)
    with pytest.raises(ParamsError, match="coins has version 1 alone, so there is no challenger"):
        shadow_models(
            coins.pipeline, coins.paths, input_file=right, challenger=None, champion="champion", output_file=None
        )


def test_the_paired_difference_decides_and_rows_of_the_training_do_not_count(rivals, tmp_path, capsys):
    coins = rivals
    rivals.train_and_register(slope=3.0, gold=0.01)
    rivals.train_and_register(slope=-2.0)
    pipeline, paths = rivals.pipeline, rivals.paths
    rows = coins.tosses(600, seed=23, first=10_000)
    labelled = coins.write(tmp_path / "labelled.csv", rows)
    both = {"champion": "1", "output_file": None}
    capsys.readouterr()
    shadow_models(pipeline, paths, input_file=labelled, challenger="2", **both)
    shown = capsys.readouterr().out
    assert "challenger version 2, champion version 1" in shown and "of 600 rows get the same class" in shown
    assert "not shown to be better" in shown
    with pytest.raises(LimitError, match="the challenger is shown to be worse: accuracy -0"):
        shadow_models(pipeline, paths, input_file=labelled, challenger="3", **both)

    known = coins.write(tmp_path / "known.csv", [*coins.tosses(2000, seed=1)[:500], *rows])
    capsys.readouterr()
    shadow_models(pipeline, paths, input_file=known, challenger="2", **both)
    assert "of 1,100 rows don't count" in capsys.readouterr().out

    unlabelled = coins.write(tmp_path / "unlabelled.csv", rows, columns=("toss", "spin", "metal"))
    output = tmp_path / "both.parquet"
    shadow_models(pipeline, paths, input_file=unlabelled, challenger="3", champion="1", output_file=output)
    assert "which of them is right is not known" in capsys.readouterr().out
    table = pl.read_parquet(output)
    assert (table["challenger.prediction"] != table["champion.prediction"]).mean() > 0.9
