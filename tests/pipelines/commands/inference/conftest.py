"""A project with a registered champion, made by the real stages; only the training is done by hand."""

import csv
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml

from headrace.pipelines.artifacts.artifact import write_artifact
from headrace.pipelines.artifacts.run_record import RunFile, result_digests
from headrace.pipelines.artifacts.split_manifest import read_manifest
from headrace.pipelines.params import Pipeline, load_pipeline
from headrace.pipelines.paths import PipelinePaths

COINS = {
    "description": "Heads or tails",
    "ingest": {
        "source": {
            "kind": "delimited",
            "dataset": "coins",
            "parts": [{"files": [{"name": "coins.csv", "url": "coins.csv"}]}],
        },
        "key": ["toss"],
        "features": {"spin": {"type": "number", "nullable": True}, "metal": {"type": "category"}},
        "label": {"type": "category", "name": "side", "classes": ["tails", "heads"]},
    },
    "normalize": {"transforms": {"spin": [{"kind": "impute", "strategy": "median"}], "metal": [{"kind": "one_hot"}]}},
    "split": {"validation_fraction": 0.1, "test_fraction": 0.3},
    "train": {
        "model": {"layers": []},
        "optimizer": {"kind": "adam", "learning_rate": 0.1},
        "global_batch_size": 4,
        "epochs": 2,
    },
    "evaluate": {},
    "register": {"thresholds": {}, "compare": {"metric": "accuracy", "when_unsure": "newer"}},
    "monitor": {
        "thresholds": {"accuracy": {"minimum": 0.6}},
        "guards": {"accuracy": {"worse_by": 0.02}},
        "slices": [{"by": "metal", "guards": {"accuracy": {"worse_by": 0.02}}}],
    },
}


def tosses(rows: int, *, seed: int, first: int = 0, shift: float = 0.0, right: float = 0.85, gold: float = 0.5) -> list:
    """Rows toss, spin, metal, side: the side is the sign of the spin, as often as `right` says."""
    random = np.random.default_rng(seed)
    spin = random.normal(shift, 2, rows)
    agrees = random.random(rows) < right
    side = np.where((spin > 0) == agrees, "heads", "tails")
    metal = np.where(random.random(rows) < gold, "gold", "tin")
    return [[str(first + place), f"{spin[place]:.4f}", str(metal[place]), str(side[place])] for place in range(rows)]


def write_tosses(file: Path, rows: list, *, columns: tuple[str, ...] = ("toss", "spin", "metal", "side")) -> Path:
    places = [("toss", "spin", "metal", "side").index(name) for name in columns]
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([columns, *([row[place] for place in places] for row in rows)])
    return file


@dataclass(frozen=True)
class Coins:
    """The project, and what is needed to call a command's function."""

    root: Path
    tosses = staticmethod(tosses)
    write = staticmethod(write_tosses)

    def copy(self, root: Path) -> "Coins":
        shutil.copytree(self.root, root)
        return Coins(root)

    @property
    def paths(self) -> PipelinePaths:
        return PipelinePaths(self.root, "coins")

    @property
    def pipeline(self) -> Pipeline:
        return load_pipeline(self.root / "params.yaml", "coins")

    def change(self, **sections: dict) -> None:
        params = yaml.safe_load((self.root / "params.yaml").read_text())
        params["coins"] |= sections
        (self.root / "params.yaml").write_text(yaml.safe_dump(params))

    def train_and_register(self, *, slope: float, gold: float = 0.0) -> None:
        """Put a model in place that says heads where slope * spin > 0, and evaluate and register it."""
        from headrace.pipelines.stages.evaluate import evaluate
        from headrace.pipelines.stages.register import register
        from headrace.pipelines.tracking.mlflow_runs import close_run, open_run

        paths = self.paths
        number, text = keras.Input((1,), name="spin"), keras.Input((1,), name="metal", dtype="string")
        is_gold = keras.layers.StringLookup(vocabulary=["gold", "tin"], output_mode="one_hot")(text)[:, 1:2]
        heads = keras.ops.nan_to_num(number) * slope + is_gold * gold
        outputs = keras.layers.Softmax()(keras.ops.concatenate([keras.ops.zeros_like(number), heads], axis=1))
        paths.model.parent.mkdir(parents=True, exist_ok=True)
        keras.Model({"spin": number, "metal": text}, outputs).save(paths.model)
        paths.history.write_text("epoch,loss,validation_loss,seconds\n1,0.5,0.6,1.0\n2,0.4,0.5,1.0\n")
        run_id = open_run(self.root, experiment="headrace/coins", run_name=f"coins-{slope}", tags={}, params={})
        close_run(self.root, run_id, status="FINISHED")
        words = dict.fromkeys(("run_name", "ray_job_id", "git_commit", "owner"), "x")
        times = dict.fromkeys(("started_at", "trained_at"), "2026-01-01T00:00:00Z")
        run = RunFile.model_validate_json(
            json.dumps(
                {
                    "pipeline": "coins",
                    "mlflow_experiment": "headrace/coins",
                    "mlflow_run_id": run_id,
                    "identity_digest": "1" * 64,
                    "identity": {},
                    "git_dirty": False,
                    "groups": [],
                    "data_digest": read_manifest(paths).digest,
                    **dict.fromkeys(("num_workers", "epochs", "best_epoch"), 1),
                    **words,
                    **times,
                    **result_digests(paths),
                }
            )
        )
        write_artifact(paths.run, run)
        evaluate(self.pipeline, paths)
        register(self.pipeline, paths)


@pytest.fixture(scope="session")
def registered_coins(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Coins:
    from headrace.pipelines.stages.ingest import ingest
    from headrace.pipelines.stages.normalize import normalize
    from headrace.pipelines.stages.split import split

    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("MLFLOW_TRACKING_URI", raising=False)
        coins = Coins(tmp_path_factory.mktemp("coins") / "a project")
        coins.root.mkdir()
        shutil.copy(empty_store, coins.root)
        write_tosses(coins.root / "coins.csv", tosses(2000, seed=1))
        (coins.root / "params.yaml").write_text(yaml.safe_dump({"pipelines": ["coins"], "coins": COINS}))
        for stage in (ingest, normalize, split):
            stage(coins.pipeline, coins.paths)
        coins.train_and_register(slope=2.0)
    return coins


@pytest.fixture
def coins(registered_coins: Coins) -> Coins:
    """The project, which only new files may be added to."""
    return registered_coins
