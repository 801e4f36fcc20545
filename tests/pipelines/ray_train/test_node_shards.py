"""The actor that deals out rows, on a Ray of its own."""

import json
import os
import subprocess
import sys

import polars as pl
import pytest

from headrace.components.examples import shards
from headrace.pipelines.object_store.objects import open_storage
from headrace.pipelines.object_store.published import publish
from headrace.pipelines.params import load_pipeline
from headrace.pipelines.ray_train.training_job import TrainJob

pytestmark = [pytest.mark.slow, pytest.mark.long]

PROGRAM = """
import json
import sys
from pathlib import Path

import ray

from headrace.components.errors import ServiceError
from headrace.components.training.batches import Windows
from headrace.components.training.feeding.window_parts import ShardLayout, WindowPart
from headrace.pipelines.ray_cluster.connect import ray_session
from headrace.pipelines.ray_train import backend
from headrace.pipelines.ray_train.node_shards import nodes_with_shards
from headrace.pipelines.ray_train.training_job import TrainJob

job = TrainJob.model_validate_json(sys.argv[1])


def raised(number):
    try:
        nodes.rows(WindowPart("train", layout, windows, 3, number, 0, 1))
    except (ServiceError, ConnectionError) as error:
        return f"{type(error).__name__}: {error}"


with ray_session(num_workers=1):
    nodes_of_workers = (ray.get_runtime_context().get_node_id(),) * 2  # both on this one
    backend._groups[:] = [backend.GroupNodes(0, "test", nodes_of_workers)]
    with nodes_with_shards(job) as nodes:
        length, schema = nodes.first_shard("train")
        layout, windows = ShardLayout(40, length, len(nodes)), Windows(40, 8, 16)
        first, second = (WindowPart("train", layout, windows, 3, 0, rank, 2) for rank in range(2))
        backend._groups[:] = [backend.GroupNodes(1, "test", nodes_of_workers)]
        with nodes_with_shards(job) as shared:  # by the worker that has not started it, and does not end it
            rows = [*shared.rows(second)[0]["x"], *nodes.rows(first)[0]["x"]]
        found = {"columns": schema.names, "rows": rows, "expected": [*second.rows.tolist(), *first.rows.tolist()]}
        found["nodes"] = len(nodes)
        for file in Path(job.storage).rglob("*.parquet"):
            file.write_bytes(b"damaged")
        found["damaged"] = raised(1)
        found["left"] = Path(ray.get(nodes._actors[0].remove_files.remote())).exists()
        ray.kill(nodes._actors[0])
        found["gone"] = raised(2)
    try:
        ray.get_actor(f"headrace-{job.run_name}-shards-test-0")
    except ValueError:
        found["ended"] = True
print(json.dumps(found))
"""


def test_an_actor_deals_out_rows_and_says_what_is_wrong_and_ends_with_its_worker(repository, tmp_path):
    rows = pl.DataFrame({"x": range(40)}, schema={"x": pl.Int64})
    shards.write(rows, tmp_path / "splits" / "train", rows_per_file=7)
    publish({"splits": tmp_path / "splits"}, storage=open_storage(str(tmp_path / "storage")), key="inputs")
    train = load_pipeline(repository / "params.yaml", "digits").train
    job = TrainJob(
        run_name="digits-1",
        folder=tmp_path / "driver",
        splits=tmp_path / "splits",
        statistics=tmp_path / "statistics.json",
        train=train.model_copy(update={"data_cache_bytes": 0}),
        storage=str(tmp_path / "storage"),
        inputs="inputs",
    )
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, job.model_dump_json()],
        cwd=repository,
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout.splitlines()[-1])
    assert found["columns"] == ["x"]
    assert found["nodes"] == 1
    assert found["rows"] == found["expected"]
    assert "DamagedError: inputs/splits/train/part-" in found["damaged"]
    assert "is not what was published: expected" in found["damaged"]
    assert "ConnectionError: lost worker: a node's shards can't be read" in found["gone"]
    assert found["ended"]
    assert not found["left"]
