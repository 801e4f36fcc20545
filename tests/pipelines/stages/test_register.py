import json
import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import polars as pl
import pytest

from headrace.components.errors import DataError, ParamsError, ServiceError
from headrace.components.examples.identity import ids_digest
from headrace.components.numerics import NUMERICS
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.serving_model.saved_model import load_model
from headrace.components.tasks.task import Measurement
from headrace.components.tasks.variants import task_of
from headrace.pipelines.artifacts.artifact import file_digest, write_artifact
from headrace.pipelines.artifacts.metrics_record import MetricsFile
from headrace.pipelines.artifacts.outcomes_table import OutcomesHeader, read_header, write_outcomes
from headrace.pipelines.artifacts.run_record import RunFile, result_digests
from headrace.pipelines.artifacts.split_manifest import OverlapCounts, SplitManifest, SplitSummary
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.stages.evaluate import outcome_table
from headrace.pipelines.stages.register import measured_rows, register
from headrace.pipelines.tracking.alias_journal import moves
from headrace.pipelines.tracking.mlflow_runs import close_run, open_run
from headrace.pipelines.tracking.registry import alias_version, model_file, versions
from headrace.pipelines.tracking.server import connect, tracking_uri

IDENTITY = {"identity_digest": "1" * 64, "identity": {}, "git_dirty": False, "groups": []}
IDENTITY |= dict.fromkeys(("started_at", "trained_at"), "2026-01-01T00:00:00Z")

SETTINGS = {
    "name": "coins",
    "description": "Heads or tails",
    "ingest": {
        "source": {"kind": "bundled", "dataset": "digits"},
        "features": {
            "spin": {"type": "number", "nullable": True},
            "metal": {"type": "category", "nullable": True},
        },
        "label": {"type": "category", "name": "side", "classes": ["tails", "heads"]},
    },
    "normalize": {"transforms": {"spin": [{"kind": "impute", "strategy": "median"}], "metal": [{"kind": "one_hot"}]}},
    "split": {"validation_fraction": 0.1, "test_fraction": 0.2},
    "train": {
        "model": {"layers": []},
        "optimizer": {"kind": "adam", "learning_rate": 0.1},
        "global_batch_size": 4,
        "epochs": 2,
    },
    "evaluate": {},
    "register": {"thresholds": {"accuracy": {"minimum": 0.5}}, "compare": {"metric": "accuracy"}},
}


MORE = 120  # rows of the test split besides the first four: of each four, the sign of `spin` is wrong for one


def a_pipeline(**changed) -> Pipeline:
    return Pipeline.model_validate({**SETTINGS, "register": {**SETTINGS["register"], **changed}})


def save_model(path, *, slope: float, number_name: str = "spin") -> None:
    """A model that says heads where slope * spin > 0, and adds a little for gold."""
    number = keras.Input((1,), name=number_name)
    text = keras.Input((1,), name="metal", dtype="string")
    gold = keras.layers.StringLookup(vocabulary=["gold"], output_mode="one_hot")(text)
    tails, heads = keras.ops.zeros_like(number), keras.ops.nan_to_num(number) * slope + gold[:, 1:] * 0.01
    outputs = keras.layers.Softmax()(keras.ops.concatenate([tails, heads], axis=1))
    path.parent.mkdir(parents=True, exist_ok=True)
    keras.Model({number_name: number, "metal": text}, outputs).save(path)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    save_model(folder / "good.keras", slope=2.0)
    save_model(folder / "bad.keras", slope=-2.0)
    save_model(folder / "as_good.keras", slope=3.0)
    save_model(folder / "other.keras", slope=2.0, number_name="weight")
    return folder


@pytest.fixture
def paths(project_root, models):
    paths = PipelinePaths(project_root, "coins")
    rows = pl.DataFrame(
        {
            "example_id": pl.Series(range(6), dtype=pl.UInt64),
            "spin": [1.0, None, 3.0, -1.0, -2.0, 4.0],
            "metal": ["gold", "tin", None, "gold", "tin", "tin"],
            "side": ["heads", "tails", "heads", "tails", "tails", "heads"],
        }
    )
    place = np.arange(MORE)
    spin = np.where(place % 2 == 0, 1.0, -1.0) * (1 + place % 5)
    more = {
        "example_id": pl.Series(6 + place, dtype=pl.UInt64),
        "spin": spin,
        "metal": np.where(place % 3 == 0, "gold", "tin"),
        "side": np.where((spin > 0) == (place % 4 < 3), "heads", "tails"),
    }
    rows = pl.concat([rows, pl.DataFrame(more)])
    write_rows(paths.examples, rows)
    write_splits(paths, trained_on=2)
    paths.reports.mkdir(parents=True)
    paths.history.write_text("epoch,loss,validation_loss,seconds\n1,0.5,0.6,1.0\n2,0.4,0.5,1.0\n")
    paths.report.write_text('<h1>coins</h1>\n</header>\n<nav aria-label="Parts of this page"><ul>\n</ul></nav>\n')
    return paths


def write_rows(folder, table) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    table.write_parquet(folder / "part-00000.parquet")


def write_splits(paths, *, trained_on: int, tested_from: int | None = None) -> None:
    """The first rows are for training, those from a place on for the test."""
    ids = pl.read_parquet(paths.examples / "part-00000.parquet").select("example_id")
    write_rows(paths.splits / "train", ids[:trained_on])
    write_rows(paths.splits / "test", ids[trained_on if tested_from is None else tested_from :])


def write_test(paths, model, metrics, **origin) -> None:
    """Outcomes of the model on the test split, and metrics that name them."""
    pipeline = a_pipeline()
    measurement = Measurement(
        model=load_model(model),
        rows=measured_rows(pipeline, paths),
        features=pipeline.ingest.features | {"weight": NumberFeature()},
        examples=pl.LazyFrame(),
        rows_of_split=lambda _: pl.LazyFrame(),
        split=pipeline.split,
        judge=None,
    )
    if "weight" in measurement.model.input:
        measurement = replace(measurement, rows=measurement.rows.with_columns(weight="spin"))
    rows = outcome_table(measurement.rows, task_of(pipeline.ingest.label).outcome_rows(measurement), pipeline)
    origin |= {"ids_digest": ids_digest(rows["example_id"]), "evaluation_version": NUMERICS["evaluate"]}
    digest = write_outcomes(paths, rows, OutcomesHeader(pipeline="coins", **origin))
    intervals = {"accuracy": (0.4, 0.9)}
    write_artifact(
        paths.metrics,
        MetricsFile(**metrics, **origin, examples=rows.height, outcomes_sha256=digest, intervals=intervals),
    )


def train(paths, model, *, accuracy: float, test_digest: str = "a" * 64, known: bool = True) -> None:
    """Put in place what train and evaluate would have written."""
    run_id = "f" * 32
    if known:
        run_id = open_run(paths.root, experiment="headrace/coins", run_name="coins-1", tags={}, params={})
        close_run(paths.root, run_id, status="FINISHED")
    paths.model.parent.mkdir(parents=True, exist_ok=True)
    paths.model.write_bytes(model.read_bytes())
    run = {
        "pipeline": "coins",
        "run_name": "coins-1",
        "mlflow_run_id": run_id,
        "mlflow_experiment": "headrace/coins",
        "ray_job_id": "embedded",
        "data_digest": "d" * 64,
        "git_commit": "c" * 40,
        "num_workers": 1,
        "owner": "hand",
        **IDENTITY,
        "epochs": 2,
        "best_epoch": 2,
    }
    digests = result_digests(paths)
    write_artifact(paths.run, RunFile(**run, **digests))
    of_model = {name: digests[name] for name in ("weights_digest", "model_sha256")}
    write_test(paths, model, {"loss": 0.5, "accuracy": accuracy}, data_digest=test_digest, **of_model)
    write_manifest(paths, digest="d" * 64, test_digest=test_digest)


def write_manifest(paths, *, digest: str, test_digest: str = "e" * 64) -> None:
    splits = {name: SplitSummary(examples=4, digest=test_digest) for name in ("train", "validation", "test")}
    overlap = OverlapCounts(by_id=0, by_content=0, left_out=0)
    manifest = SplitManifest(pipeline=paths.pipeline, seed=1, digest=digest, overlap=overlap, splits=splits)
    write_artifact(paths.manifest, manifest)


def registration(paths):
    return json.loads(paths.registration.read_text())


def test_the_first_model_that_passes_becomes_champion(paths, models):
    train(paths, models / "good.keras", accuracy=0.75)
    register(a_pipeline(), paths)

    said = registration(paths)
    run_id = json.loads(paths.run.read_text())["mlflow_run_id"]
    assert (said["model"], said["version"], said["alias"], said["decision"]) == ("coins", 1, "champion", "promoted")
    assert said["reasons"] == ["accuracy 0.75 meets its threshold", "there was no champion to beat"]
    assert said["metrics"] == {"loss": 0.5, "accuracy": 0.75}
    assert said["mlflow_run_id"] == run_id
    assert str(paths.root) not in paths.registration.read_text()
    assert alias_version(paths.root, "coins", "champion").number == 1

    tags = alias_version(paths.root, "coins", "champion").tags
    md5 = subprocess.run(["md5sum", paths.model], capture_output=True, text=True, check=True).stdout.split()[0]
    expected = {
        "model_md5": md5,
        "mlflow_run_id": run_id,
        "trained_by_run": run_id,
        "run_name": "coins-1",
        "ray_job_id": "embedded",
        "git_commit": "c" * 40,
        "data_digest": "d" * 64,
        "test_digest": "a" * 64,
        "metric.accuracy": "0.75",
        "interval.accuracy": "0.4 0.9",
    }
    assert expected.items() <= tags.items()


def test_the_registered_file_is_the_trained_one(paths, models):
    train(paths, models / "good.keras", accuracy=0.75)
    register(a_pipeline(), paths)
    assert model_file(paths.root, "coins", "champion").read_bytes() == paths.model.read_bytes()


def test_mlflow_loads_it_as_keras_and_serves_raw_rows(paths, models):
    import mlflow

    train(paths, models / "good.keras", accuracy=0.75)
    register(a_pipeline(), paths)
    mlflow.set_tracking_uri(tracking_uri(paths.root))
    rows = pd.DataFrame({"spin": [1.0, np.nan, -2.0], "metal": ["gold", None, "tin"]})
    raw = {"spin": np.array([[1.0], [np.nan], [-2.0]], "float32"), "metal": np.array([["gold"], [""], ["tin"]], object)}

    loaded = mlflow.keras.load_model("models:/coins@champion")
    expected = np.asarray(loaded(raw))
    assert expected.argmax(axis=1).tolist() == [1, 0, 0]
    served = mlflow.pyfunc.load_model("models:/coins@champion")
    np.testing.assert_array_equal(served.predict(rows), expected)
    np.testing.assert_array_equal(served.predict(rows[["spin"]])[1:], expected[1:])  # a nullable column may be left out
    assert served.predict(served.input_example).shape == (2, 2)
    assert served.metadata.metadata == {"classes": ["tails", "heads"]}
    assert served.metadata.signature.inputs.input_names() == ["spin", "metal"]


def test_registering_again_changes_nothing(paths, models):
    train(paths, models / "good.keras", accuracy=0.75)
    register(a_pipeline(), paths)
    before = paths.registration.read_bytes(), paths.decision.read_bytes()
    paths.registration.unlink()
    paths.decision.unlink()
    register(a_pipeline(), paths)
    assert (paths.registration.read_bytes(), paths.decision.read_bytes()) == before
    assert len(versions(paths.root, "coins")) == 1
    client = connect(paths.root)
    experiments = [client.get_experiment_by_name("headrace/coins").experiment_id]
    assert len(client.search_runs(experiments)) == len(client.search_logged_models(experiments)) == 1


def test_other_thresholds_are_a_new_decision_on_the_same_version(paths, models):
    train(paths, models / "good.keras", accuracy=0.75)
    register(a_pipeline(thresholds={"accuracy": {"minimum": 0.9}}), paths)
    assert registration(paths)["alias"] is None
    register(a_pipeline(), paths)
    assert registration(paths)["alias"] == "champion"
    register(a_pipeline(thresholds={"accuracy": {"minimum": 0.9}}), paths)
    said = registration(paths)
    assert (said["version"], said["alias"], said["decision"]) == (1, "champion", "not promoted")
    failing = "accuracy 0.75 is below the minimum of 0.9"
    stays = f"the champion, version 1, fails: {failing}; it stays (failing_champion: warn)"
    assert said["reasons"] == [failing, stays]


def test_a_model_that_fails_the_gate_is_registered_without_the_alias(paths, models):
    train(paths, models / "bad.keras", accuracy=0.25)
    register(a_pipeline(), paths)
    said = registration(paths)
    assert (said["version"], said["alias"], said["decision"]) == (1, None, "not promoted")
    assert "accuracy 0.25 is below the minimum of 0.5" in said["reasons"]
    assert alias_version(paths.root, "coins", "champion") is None


@pytest.mark.parametrize(
    ("first", "second", "unsure", "champion", "said"),
    [
        # What metrics.json says of either counts for thresholds alone: each would be decided the other way by it.
        ("bad.keras", "good.keras", "keep", 2, "shown to be better than the champion"),
        ("good.keras", "bad.keras", "keep", 1, "shown to be worse than the champion"),
        ("good.keras", "bad.keras", "newer", 1, "shown to be worse than the champion"),
        ("good.keras", "as_good.keras", "keep", 1, "not shown to be better: the champion stays"),
        ("good.keras", "as_good.keras", "newer", 2, "the newer model is taken"),
    ],
)
def test_a_model_becomes_champion_by_evidence_on_the_same_rows(paths, models, first, second, unsure, champion, said):
    settings = {"compare": {"metric": "accuracy", "when_unsure": unsure}}
    train(paths, models / first, accuracy=0.99 if champion == 2 else 0.51)
    register(a_pipeline(**settings), paths)
    # Of other normalized rows, which another transform makes of the same raw ones.
    train(paths, models / second, accuracy=0.75, test_digest="b" * 64)
    register(a_pipeline(**settings), paths)
    assert registration(paths)["version"] == 2
    assert registration(paths)["reasons"][-1].startswith("accuracy ")
    assert said in registration(paths)["reasons"][-1]
    assert "(124 rows, exact McNemar)" in registration(paths)["reasons"][-1]
    assert alias_version(paths.root, "coins", "champion").number == champion
    previous = alias_version(paths.root, "coins", "previous_champion")
    assert (previous and previous.number) == (1 if champion == 2 else None)
    against = registration(paths)["against"]
    assert (against["version"], against["rows"]) == (1, 124)
    assert against["metrics"].keys() == {"accuracy", "f1", "roc_auc", "loss"}
    page = paths.decision.read_text()
    assert f"Version 2 is {'champion' if champion == 2 else 'registered, and not champion'}." in page
    assert page.index("</nav>") < page.index("Challenger and champion")
    run = connect(paths.root).list_artifacts(registration(paths)["mlflow_run_id"], "evaluation")
    assert [file.path for file in run] == ["evaluation/decision.html"]


def test_rows_that_the_champion_was_trained_on_do_not_count_for_it(paths, models):
    write_splits(paths, trained_on=60)
    train(paths, models / "bad.keras", accuracy=0.75)
    register(a_pipeline(), paths)
    write_splits(paths, trained_on=0, tested_from=2)
    train(paths, models / "good.keras", accuracy=0.75)
    register(a_pipeline(), paths)
    said = registration(paths)["reasons"]
    assert said[0] == "the champion, version 1, was trained on 58 of the 124 test rows, which don't count"
    assert "(66 rows, exact McNemar): shown to be better" in said[-1]


def test_where_the_champion_has_seen_all_rows_nothing_is_shown(paths, models):
    write_splits(paths, trained_on=126, tested_from=2)
    train(paths, models / "bad.keras", accuracy=0.75)
    register(a_pipeline(), paths)
    train(paths, models / "good.keras", accuracy=0.75)
    register(a_pipeline(), paths)
    assert "too few rows that neither model was trained on" in registration(paths)["reasons"][-1]
    assert alias_version(paths.root, "coins", "champion").number == 1


def test_a_champion_without_ids_of_its_training_rows_is_compared_and_said_to_be(paths, models):
    train(paths, models / "bad.keras", accuracy=0.75)
    register(a_pipeline(), paths)
    client = connect(paths.root)
    client.delete_model_version_tag("coins", "1", "training_ids_digest")
    train(paths, models / "good.keras", accuracy=0.75)
    register(a_pipeline(), paths)
    assert "does not say which rows it was trained on" in registration(paths)["reasons"][0]
    assert alias_version(paths.root, "coins", "champion").number == 2


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", None])
def test_damaged_ids_of_a_champions_training_rows_are_named(paths, models, content):
    train(paths, models / "bad.keras", accuracy=0.75)
    register(a_pipeline(), paths)
    [file] = paths.root.rglob("training_ids.parquet")
    if content is None:
        pl.read_parquet(file).with_columns(pl.col("example_id") + 1).write_parquet(file)
    else:
        file.write_bytes(content)
    train(paths, models / "good.keras", accuracy=0.75)
    register(a_pipeline(), paths)
    [reason] = [one for one in registration(paths)["reasons"] if "it can't be compared with the champion" in one]
    assert "expected ids of digest" in reason
    assert "restore it from a backup" in reason
    assert "\n" not in reason


@pytest.mark.parametrize(("failing", "champion"), [("warn", 1), ("demote", None)])
def test_a_champion_that_fails_a_raised_threshold_is_named_or_demoted(paths, models, failing, champion):
    train(paths, models / "good.keras", accuracy=0.75)
    register(a_pipeline(), paths)
    train(paths, models / "as_good.keras", accuracy=0.75)
    raised = {"thresholds": {"accuracy": {"minimum": 0.9}}, "failing_champion": failing}
    register(a_pipeline(**raised), paths)
    said = registration(paths)["reasons"][0]
    assert said.startswith("the champion, version 1, fails: accuracy 0.758065 is below the minimum of 0.9; it ")
    present = alias_version(paths.root, "coins", "champion")
    assert (present and present.number) == champion
    if champion is None:
        assert alias_version(paths.root, "coins", "previous_champion").number == 1
        [*_, move] = moves(paths.root, "coins", [])
        assert (move.from_version, move.to_version) == (1, None)
        register(a_pipeline(failing_champion=failing), paths)  # lowered again: nobody to beat
        assert alias_version(paths.root, "coins", "champion").number == 2


def test_a_challenger_of_a_champion_that_is_demoted_has_nobody_to_beat(paths, models):
    train(paths, models / "bad.keras", accuracy=0.75)
    register(a_pipeline(), paths)
    train(paths, models / "good.keras", accuracy=0.75)
    register(a_pipeline(failing_champion="demote"), paths)
    assert registration(paths)["reasons"][-1] == "there was no champion to beat"
    assert alias_version(paths.root, "coins", "champion").number == 2


def test_decisions_on_one_test_set_are_counted(paths, models):
    for number, minimum in enumerate((0.5, 0.6, 0.7), start=1):
        train(paths, models / "good.keras", accuracy=0.75)
        register(a_pipeline(thresholds={"accuracy": {"minimum": minimum}}, decisions_per_test_set=2), paths)
        assert registration(paths)["decisions_on_these_rows"] == number
    assert "decision 3 on this test set, above the limit of 2" in registration(paths)["reasons"][-1]
    write_splits(paths, trained_on=3)
    train(paths, models / "as_good.keras", accuracy=0.75)
    register(a_pipeline(), paths)
    assert registration(paths)["decisions_on_these_rows"] == 1  # on other rows


def test_a_version_counts_once_however_often_it_is_decided_on(paths, models, monkeypatch):
    def lost(*_, **__):
        raise ServiceError("MLflow went away")

    train(paths, models / "good.keras", accuracy=0.75)
    with monkeypatch.context() as patch:
        patch.setattr("headrace.pipelines.stages.register.set_champion", lost)
        with pytest.raises(ServiceError):
            register(a_pipeline(), paths)
    for minimum in (0.5, 0.6):
        register(a_pipeline(thresholds={"accuracy": {"minimum": minimum}}, decisions_per_test_set=1), paths)
        assert registration(paths)["decisions_on_these_rows"] == 1
        assert not any("above the limit" in reason for reason in registration(paths)["reasons"])
    train(paths, models / "good.keras", accuracy=0.75)
    register(a_pipeline(), paths)
    assert registration(paths)["decisions_on_these_rows"] == 2


def test_a_model_above_its_budget_is_no_champion(paths, models):
    train(paths, models / "good.keras", accuracy=0.75)
    register(a_pipeline(budget={"model_bytes": 100, "latency_ms": 60_000}), paths)
    said = registration(paths)
    assert said["alias"] is None
    assert any("model.keras has" in reason and "above the 100" in reason for reason in said["reasons"])
    assert any("a prediction of one row takes" in reason and "within" in reason for reason in said["reasons"])


def test_a_part_that_became_worse_keeps_the_champion(paths, models):
    train(paths, models / "good.keras", accuracy=0.75)
    register(a_pipeline(), paths)
    train(paths, models / "bad.keras", accuracy=0.75)
    sliced = {
        "compare": {"metric": "accuracy", "when_unsure": "newer"},
        "slices": [{"by": "metal", "guards": {"accuracy": {}}, "thresholds": {"accuracy": {"minimum": 0.7}}}],
    }
    register(a_pipeline(**sliced), paths)
    said = registration(paths)["reasons"]
    assert any(reason.startswith("metal tin: accuracy 0.2") and "below the minimum" in reason for reason in said)
    assert any(reason.startswith("metal gold: accuracy -0.") and "worse than the champion" in reason for reason in said)
    assert alias_version(paths.root, "coins", "champion").number == 1
    slices = registration(paths)["against"]["slices"]
    assert slices.keys() == {"metal gold", "metal tin"}
    assert all(one["high"] < 0 for one in slices.values())
    assert "metal gold" in paths.decision.read_text()


def test_outcomes_of_another_evaluation_are_refused(paths, models):
    train(paths, models / "good.keras", accuracy=0.75)
    write_outcomes(paths, pl.read_parquet(paths.outcomes)[:-1], read_header(paths))
    with pytest.raises(
        DataError, match=r"outcomes\.parquet is not the file that metrics\.json names: .*evaluate coins"
    ):
        register(a_pipeline(), paths)
    assert versions(paths.root, "coins") == []


def test_a_champion_that_takes_other_features_is_not_replaced_without_a_user(paths, models):
    train(paths, models / "other.keras", accuracy=0.6)
    register(a_pipeline(), paths)
    train(paths, models / "good.keras", accuracy=0.9, test_digest="b" * 64)
    register(a_pipeline(), paths)
    said = registration(paths)
    assert (said["alias"], said["decision"]) == (None, "not promoted")
    assert "it takes a feature 'weight'" in said["reasons"][1]
    assert "headrace promote coins --version 2" in said["reasons"][2]


def test_a_model_whose_run_is_unknown_gets_a_run_that_says_so(paths, models):
    train(paths, models / "good.keras", accuracy=0.75, known=False)
    register(a_pipeline(), paths)
    before = paths.registration.read_bytes()
    run = connect(paths.root).get_run(registration(paths)["mlflow_run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.tags["headrace.restored"] == "true"
    assert run.data.tags["headrace.mlflow_run_id"] == "f" * 32
    assert run.data.params["optimizer.learning_rate"] == "0.1"
    assert run.data.metrics == {
        "loss": 0.4,
        "validation_loss": 0.5,
        "seconds": 1.0,
        "test_loss": 0.5,
        "test_accuracy": 0.75,
        "test_accuracy_low": 0.4,
        "test_accuracy_high": 0.9,
    }
    assert alias_version(paths.root, "coins", "champion").tags["trained_by_run"] == "f" * 32
    register(a_pipeline(), paths)
    assert paths.registration.read_bytes() == before
    assert len(versions(paths.root, "coins")) == 1


@pytest.mark.parametrize("wrong", [{"compare": {"metric": "roc_auc"}}, {"thresholds": {"f1": {"minimum": 1}}}])
def test_a_metric_that_was_not_computed_stops_before_anything_is_logged(paths, models, wrong):
    train(paths, models / "good.keras", accuracy=0.75)
    with pytest.raises(ParamsError, match="there are: accuracy, loss"):
        register(a_pipeline(**wrong), paths)
    assert versions(paths.root, "coins") == []


def test_metrics_of_another_test_split_are_refused(paths, models):
    train(paths, models / "good.keras", accuracy=0.75)
    write_manifest(paths, digest="d" * 64, test_digest="e" * 64)
    with pytest.raises(DataError, match=r"of another test split: .* run `headrace evaluate coins` again"):
        register(a_pipeline(), paths)


def change(file, **changed) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        # seen: a champion with accuracy 0.99 whose weights were all 0
        (
            lambda paths, models: paths.model.write_bytes((models / "bad.keras").read_bytes()),
            r"model\.keras is not the file that run\.json names: .*`dvc checkout --force models/coins/model\.keras`.*"
            "`headrace train coins`",
        ),
        (
            lambda paths, models: paths.model.unlink(),
            r"reads models/coins/model\.keras, which is not there; run",
        ),
        (lambda paths, models: paths.history.write_text("epoch\n"), r"history\.csv is not .*`headrace train coins`"),
        # train without evaluate: the metrics are those of the model before
        (
            lambda paths, models: change(paths.metrics, weights_digest="0" * 64, model_sha256="0" * 64),
            "metrics.json is of another model: .*`headrace evaluate coins`",
        ),
        (
            lambda paths, models: change(paths.metrics, model_sha256="0" * 64),  # the same weights behind another input
            "metrics.json is of another model: .*`headrace evaluate coins`",
        ),
        (
            lambda paths, models: change(paths.metrics, evaluation_version=0),
            "metrics.json is of another version of evaluation: .*`headrace evaluate coins`",
        ),
        (lambda paths, models: change(paths.manifest, digest="e" * 64), "trained on other data .*`headrace run coins`"),
        (
            lambda paths, models: change(paths.run, format_version=None),
            "run.json: expected format_version 1, found none: .*`headrace train coins`",
        ),
        (
            lambda paths, models: change(paths.metrics, format_version=0),
            "metrics.json: expected format_version 2, found 0: .*`headrace evaluate coins`",
        ),
        (lambda paths, models: change(paths.metrics, accuracy="high"), "metrics.json is damaged: accuracy: "),
        (lambda paths, models: paths.metrics.write_text("{"), "metrics.json is damaged: "),
        (lambda paths, models: paths.run.unlink(), r"reads models/coins/run\.json, which is not there; run"),
    ],
)
def test_what_does_not_belong_together_is_not_registered(paths, models, spoil, message):
    train(paths, models / "good.keras", accuracy=0.75)
    spoil(paths, models)
    with pytest.raises(DataError, match=message) as refused:
        register(a_pipeline(), paths)
    assert "\n" not in str(refused.value)
    assert versions(paths.root, "coins") == []


def test_a_version_and_its_registration_name_all_that_they_were_made_from(paths, models):
    train(paths, models / "good.keras", accuracy=0.75)
    register(a_pipeline(), paths)
    digests = {
        **{name: value for name, value in result_digests(paths).items() if name != "history_sha256"},
        "metrics_sha256": file_digest(paths.metrics),
        "outcomes_sha256": file_digest(paths.outcomes),
        "test_digest": "a" * 64,
        "evaluation_version": NUMERICS["evaluate"],
    }
    assert digests.items() <= registration(paths).items()
    tags = alias_version(paths.root, "coins", "champion").tags
    assert {name: str(value) for name, value in digests.items()}.items() <= tags.items()


def test_a_champion_whose_file_was_changed_is_neither_loaded_nor_replaced(paths, models):
    train(paths, models / "good.keras", accuracy=0.75)
    register(a_pipeline(), paths)
    model_file(paths.root, "coins", "champion").write_bytes((models / "bad.keras").read_bytes())
    train(paths, models / "other.keras", accuracy=0.9, test_digest="b" * 64)
    register(a_pipeline(), paths)
    said = registration(paths)
    assert (said["alias"], said["decision"]) == (None, "not promoted")
    assert "was changed after it was registered" in said["reasons"][1]


def test_registering_does_not_load_tensorflow(paths, models):
    train(paths, models / "good.keras", accuracy=0.75)
    code = (
        "import json, sys; from pathlib import Path; from headrace.pipelines.params import Pipeline\n"
        "from headrace.pipelines.paths import PipelinePaths; from headrace.pipelines.stages.register import register\n"
        "register(Pipeline.model_validate_json(sys.argv[2]), PipelinePaths(Path(sys.argv[1]), 'coins'))\n"
        "print(sorted({'tensorflow', 'keras', 'matplotlib', 'sklearn'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, paths.root, json.dumps(SETTINGS)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.stdout.splitlines()[-1:] == ["[]"], ended.stderr
    assert ended.stderr == ""
    assert registration(paths)["alias"] == "champion"
