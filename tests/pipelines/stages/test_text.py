"""Text from source to registry: long files in chunks, texts as rows, and models of next tokens."""

import json

import keras
import numpy as np
import polars as pl
import pytest
import structlog
import yaml
from structlog.testing import capture_logs

from headrace.components.examples import shards
from headrace.components.serving_model.saved_model import load_model
from headrace.components.tasks.task import Measurement
from headrace.components.tasks.variants import task_of
from headrace.components.training.restored_model import restored_model
from headrace.components.transforms.fitted_table import FittedTable
from headrace.pipelines.artifacts.artifact import write_artifact
from headrace.pipelines.artifacts.run_record import RunFile, result_digests
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.stages.evaluate import evaluate
from headrace.pipelines.stages.ingest import ingest
from headrace.pipelines.stages.normalize import normalize
from headrace.pipelines.stages.register import register
from headrace.pipelines.stages.split import split
from headrace.pipelines.tracking.mlflow_runs import close_run, open_run

IDENTITY = {"identity_digest": "1" * 64, "identity": {}, "git_dirty": False, "groups": []}
IDENTITY |= dict.fromkeys(("started_at", "trained_at"), "2026-01-01T00:00:00Z")

PLAY = "".join(f"{number}: to be, or not to be\n" for number in range(600))


def section(repository, name: str, **ingest_settings) -> Pipeline:
    content = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))[name]
    content["ingest"] |= ingest_settings
    return Pipeline.model_validate({"name": name, **content})


def rows(folder) -> pl.DataFrame:
    return shards.scan(folder).collect()


@pytest.fixture(scope="module")
def plays(tmp_path_factory, repository) -> tuple[Pipeline, PipelinePaths, list]:
    """shakespeare with two files of one's own, split."""
    root = tmp_path_factory.mktemp("project")
    (root / "plays").mkdir()
    (root / "plays/one.txt").write_text(PLAY, encoding="utf-8")
    (root / "plays/two.txt").write_text(PLAY.upper().removesuffix("\n"), encoding="utf-8")
    files = {"root": str(root / "plays")}
    source = {"kind": "text", "dataset": "plays", "files": files, "length": 100, "passage_chunks": 3}
    pipeline, paths = section(repository, "shakespeare", source=source), PipelinePaths(root, "shakespeare")
    structlog.reset_defaults()
    with capture_logs() as logs:
        ingest(pipeline, paths)
    normalize(pipeline, paths)
    split(pipeline, paths)
    return pipeline, paths, logs


def test_files_become_chunks_and_their_ends_are_logged(plays) -> None:
    _, paths, logs = plays
    texts = rows(paths.examples)["text"]
    whole = {len(text) // 100 for text in (PLAY, PLAY[:-1])}
    assert (len(texts), set(texts.str.len_chars()), whole) == (2 * (len(PLAY) // 100), {101}, {len(PLAY) // 100})
    rests = {log["file"]: log["characters"] for log in logs if "characters" in log}
    assert rests == {"one.txt": (len(PLAY) - 1) % 100, "two.txt": (len(PLAY) - 2) % 100}


def test_a_passage_is_in_one_split(plays) -> None:
    _, paths, _ = plays
    examples = rows(paths.examples)
    ids = {name: rows(paths.splits / name)["example_id"] for name in ("train", "validation", "test")}
    passages = {
        name: set(examples.filter(pl.col("example_id").is_in(one.implode()))["group_id"]) for name, one in ids.items()
    }
    assert all(len(one) > 1 for one in passages.values())
    assert not passages["train"] & (passages["validation"] | passages["test"])


def test_what_is_learned_are_ids_and_those_that_follow(plays) -> None:
    _, paths, _ = plays
    fitted = FittedTable.model_validate_json(paths.statistics.read_text(encoding="utf-8"))
    vocabulary = fitted.features["text"].transforms[0].tokens
    normalized = rows(paths.normalized)
    assert (normalized.schema["text"], normalized.schema["label"]) == (
        pl.Array(pl.Float32, 100),
        pl.Array(pl.Int32, 100),
    )
    names = np.array(["", "?", *vocabulary])
    texts, ids, targets = (
        table.to_numpy() for table in (rows(paths.examples)["text"], normalized["text"], normalized["label"])
    )
    for text, row, following in zip(texts[:5], ids[:5].astype(int), targets[:5], strict=True):
        assert "".join(names[row]) == text[:-1]
        assert "".join(names[following]) == text[1:]


def test_a_profile_of_text_counts_its_tokens(plays) -> None:
    _, paths, _ = plays
    column = json.loads(paths.profile.read_text(encoding="utf-8"))["profile"]["columns"]["text"]
    texts = rows(paths.examples)["text"]
    counts = {bar["label"]: bar["count"] for bar in column["bars"]}
    assert column["rows"] == texts.str.len_chars().sum()
    assert counts[":"] == texts.str.count_matches(":").sum()


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_texts_with_a_class_are_the_same_from_any_table(tmp_path, repository, suffix) -> None:
    table = pl.DataFrame(
        {"review": ["a good, good film", "so bad\nthat", "good"] * 20, "kind": ["yes", "no", "yes"] * 20}
    )
    path = tmp_path / f"reviews.{suffix}"
    {"csv": table.write_csv, "parquet": table.write_parquet, "jsonl": table.write_ndjson}[suffix](path)
    kind = {"csv": "delimited", "parquet": "parquet", "jsonl": "json_lines"}[suffix]
    pipeline = _classified(repository, kind, path)
    paths = PipelinePaths(tmp_path / "project", "reviews")
    paths.root.mkdir()
    ingest(pipeline, paths)
    normalize(pipeline, paths)
    normalized = rows(paths.normalized).group_by("review", "label").len().sort("label", "review")
    fitted = FittedTable.model_validate_json(paths.statistics.read_text(encoding="utf-8"))
    assert normalized["len"].to_list() == [20, 20, 20]
    assert (fitted.tokens, fitted.features["review"].shape) == (9, (3,))


def _classified(repository, kind, path) -> Pipeline:
    content = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))["shakespeare"]
    layers = [
        {"kind": "embedding", "units": 4},
        {"kind": "recurrent", "cell": "gru", "units": 4, "return_sequences": False},
    ]
    content["ingest"] = {
        "source": {"kind": kind, "dataset": "reviews", "files": {"root": str(path.parent), "pattern": path.name}},
        "features": {"review": {"type": "text", "length": 3, "unit": "word"}},
        "label": {"type": "category", "name": "kind", "classes": ["no", "yes"]},
    }
    content["normalize"] = {"transforms": {"review": [{"kind": "vocabulary"}]}}
    content["train"]["model"] = {"layers": layers}
    content["register"] = {"thresholds": {}, "compare": {"metric": "accuracy"}}
    return Pipeline.model_validate({"name": "reviews", **content})


def _leave_model(pipeline: Pipeline, paths: PipelinePaths, *, seed: int) -> str:
    """What train writes, with random weights; return the MLflow run."""
    fitted = FittedTable.model_validate_json(paths.statistics.read_text(encoding="utf-8"))
    keras.utils.set_random_seed(seed)
    from headrace.components.models.build import build

    core = build(
        pipeline.train.model, input_shape=(4,), output=task_of(fitted.label).output(fitted.tokens), tokens=fitted.tokens
    )
    model, _ = restored_model(
        core.get_weights(), model=pipeline.train.model, fitted=fitted, statistics=paths.statistics
    )
    paths.model.parent.mkdir(parents=True, exist_ok=True)
    model.save(paths.model)
    paths.history.parent.mkdir(parents=True, exist_ok=True)
    paths.history.write_text("epoch,loss,accuracy,perplexity,seconds\n1,2,0.5,3,1\n", encoding="utf-8")
    run_id = open_run(paths.root, experiment="headrace/hello_rnn", run_name="r", tags={}, params={})
    close_run(paths.root, run_id, status="FINISHED")
    origin = {"pipeline": "hello_rnn", "run_name": "r", "mlflow_run_id": run_id, "ray_job_id": "embedded"}
    digest = json.loads(paths.manifest.read_text(encoding="utf-8"))["digest"]
    origin |= {"mlflow_experiment": "headrace/hello_rnn", "data_digest": digest, "git_commit": "c" * 40}
    counts = {"num_workers": 1, **IDENTITY, "epochs": 1, "best_epoch": 1}
    write_artifact(paths.run, RunFile(**origin, **counts, owner="hand", **result_digests(paths)))
    return run_id


def test_a_model_of_next_tokens_is_evaluated_registered_and_tested_again(project_root, repository) -> None:
    pipeline, paths = section(repository, "hello_rnn"), PipelinePaths(project_root, "hello_rnn")
    for stage in (ingest, normalize, split):
        stage(pipeline, paths)
    _leave_model(pipeline, paths, seed=1)
    evaluate(pipeline, paths)
    metrics = json.loads(paths.metrics.read_text(encoding="utf-8"))
    probabilities = np.asarray(load_model(paths.model)({"text": np.array([["hello"]], dtype=object)}))
    fitted = FittedTable.model_validate_json(paths.statistics.read_text(encoding="utf-8"))
    ids = [2 + fitted.features["text"].transforms[0].tokens.index(letter) for letter in "ello"]
    nats = -np.log(probabilities[0, np.arange(4), ids]).mean()
    assert metrics["cross_entropy"] == pytest.approx(nats, rel=1e-5)
    assert metrics["perplexity"] == pytest.approx(np.exp(nats), rel=1e-5)
    page = paths.report.read_text(encoding="utf-8")
    assert "Cross-entropy by place" in page
    assert "nats a token" in page
    assert "none held out" in page

    register(pipeline, paths)
    registration = json.loads(paths.registration.read_text(encoding="utf-8"))
    assert (registration["version"], registration["alias"]) == (1, None)  # random weights do not reach the threshold
    examples = shards.scan(paths.examples).collect()
    again = task_of(pipeline.ingest.label).metrics(
        Measurement(
            model=load_model(paths.model),
            rows=examples,
            features=pipeline.ingest.features,
            examples=examples.lazy(),
            rows_of_split=lambda name: shards.scan(paths.splits / name),
            split=pipeline.split,
            judge=None,
        )
    )
    assert again == pytest.approx({name: metrics[name] for name in again})
