"""Which version made which file of predictions."""

from headrace.pipelines.tracking.prediction_journal import keep_predictions, predictions_of_version


def keep(root, version, output="predicted.csv", model="line"):
    (root / "rows.csv").write_text("x\n1\n")
    (root / output).write_text(f"{model} {version}\n")
    keep_predictions(
        root, model=model, version=version, input_file=root / "rows.csv", output_file=root / output, rows=1
    )


def test_a_version_finds_its_files_and_no_others(tmp_path):
    keep(tmp_path, 1)
    keep(tmp_path, 2, "other.csv")
    keep(tmp_path, 1, "third.csv", model="sine")
    [made] = predictions_of_version(tmp_path, "line", 1)
    assert (made.output, made.rows) == (str(tmp_path / "predicted.csv"), 1)
    assert made.input_sha256
    assert len(made.output_sha256) == 64
    assert predictions_of_version(tmp_path, "line", 3) == []


def test_a_file_that_another_version_has_written_since_is_that_ones(tmp_path):
    keep(tmp_path, 1)
    keep(tmp_path, 2)
    assert predictions_of_version(tmp_path, "line", 1) == []
    assert len(predictions_of_version(tmp_path, "line", 2)) == 1


def test_a_line_that_was_cut_short_spoils_no_other(tmp_path):
    keep(tmp_path, 1)
    journal = tmp_path / ".headrace" / "predictions.jsonl"
    with journal.open("a") as file:
        file.write('\n{"time": "2026')
    keep(tmp_path, 1, "other.csv")
    assert len(predictions_of_version(tmp_path, "line", 1)) == 2


def test_nothing_was_predicted_yet(tmp_path):
    assert predictions_of_version(tmp_path, "line", 1) == []
