"""Where a training comes from: its identity, the data and code behind it, and the process that trains."""

import hashlib
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headrace.components.files.digests import content_digest, file_digest
from headrace.components.schema.settings import without_defaults
from headrace.pipelines.artifacts.split_manifest import read_manifest
from headrace.pipelines.distributed_plan import DistributedPlan
from headrace.pipelines.headrace_lock import installed
from headrace.pipelines.host.machine import this_machine
from headrace.pipelines.host.user import user_name
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.project.code_digests import own_code
from headrace.pipelines.remote_training.handoff import Handoff, git_state, owner, submission_id
from headrace.pipelines.tracking.initial_model import digest_of_sums
from headrace.pipelines.tracking.sweep import owner_tags

# Settings of a training that change no bit of its weights. A worker's cores do, as its threads. So does the number of
# workers: sums are rounded otherwise, and after 12 epochs of digits the weights of 2 workers and of 1 differ by 0.11.
WITHOUT_EFFECT = (
    "use_gpu",
    "resources_per_worker",
    "driver",
    "placement",
    "data_cache_bytes",
    "max_failures",
    "start_timeout_seconds",
    "capacity_timeout_seconds",
    "checkpoints",
    "allow_untested_keras",
    "equality",
)
IGNORED_BY_TRIALS = (*WITHOUT_EFFECT, "num_workers", "reproducible", "logical_shards")  # a trial is one process


def training_identity(
    pipeline: Pipeline, paths: PipelinePaths, start_weights: Path | None, *, pretrained: Path | None = None
) -> dict[str, Any]:
    """Everything that decides the weights of a training: versions, kind of device, settings, code, and its inputs.

    Files are there by their SHA-256, in hexadecimal digits. Settings that have their default are left out: a setting
    that is added to Headrace renames no training, and a default is never changed without raising the numerics.
    """
    code = own_code(paths.root, pipeline)
    return {
        "versions": installed("train", also=code.packages),
        "device": "gpu" if pipeline.train.use_gpu else "cpu",
        "train": deciding_settings(pipeline.train),
        "code": code.digests,
        "data": read_manifest(paths).digest,
        "statistics": file_digest(paths.statistics),
        "start_weights": _digest_of_files(start_weights) if start_weights else None,
        **({"weights": content_digest(pretrained)} if pretrained else {}),
    }


def deciding_settings(train: DistributedPlan) -> dict[str, Any]:
    """The settings that decide the weights, as JSON, apart from those that have their default.

    Where pretrained weights come from decides nothing: their content is in the identity by itself.
    """
    cores = train.resources_per_worker.cores
    if cores is not None and train.threads_per_worker is None:  # a worker computes with as many threads
        train = train.model_copy(update={"threads_per_worker": cores})
    ignored = ("num_workers", "threads_per_worker") if train.is_bitwise else ("logical_shards",)
    left_out = {*WITHOUT_EFFECT, *ignored}
    settings = {name: value for name, value in without_defaults(train).items() if name not in left_out}
    if isinstance(model := settings.get("model"), dict):
        settings["model"] = {name: value for name, value in model.items() if name != "weights"}
    return settings


def identity_digest(identity: Mapping[str, Any]) -> str:
    """SHA-256 of an identity, in hexadecimal digits; whatever the order of its keys."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def origin_of(
    pipeline: Pipeline, paths: PipelinePaths, *, run_name: str, identity: Mapping[str, Any], handoff: Handoff | None
) -> dict[str, Any]:
    """A training's provenance, as run.json and the MLflow run record it."""
    state = handoff or git_state(paths.root)
    return {
        "pipeline": pipeline.name,
        "run_name": run_name,
        "identity_digest": identity_digest(identity),
        "mlflow_experiment": f"headrace/{pipeline.name}",
        "ray_job_id": submission_id() or os.environ.get("RAY_JOB_ID", "embedded"),
        "data_digest": read_manifest(paths).digest,
        "git_commit": state.git_commit,
        "git_dirty": state.git_dirty,
        "num_workers": pipeline.train.max_workers,
        "owner": handoff.owner if handoff else owner(),
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def source_tags(pipeline: Pipeline, paths: PipelinePaths, handoff: Handoff | None) -> dict[str, str]:
    """Tags of a run that MLflow itself shows, who started what from which source, and the machine of this process."""
    state, machine = handoff or git_state(paths.root), this_machine()
    known = {
        "headrace.processor": f"{machine.processor}, {machine.cores} cores",
        "headrace.gpus": ", ".join(machine.gpus),
        "mlflow.user": user_name(),
        "mlflow.source.name": f"headrace train {pipeline.name}",
        "mlflow.source.type": "JOB" if submission_id() else "LOCAL",
        "mlflow.source.git.commit": "" if state.git_commit == "unknown" else state.git_commit,
        "mlflow.source.git.branch": state.git_branch,
        "mlflow.source.git.repoURL": state.git_remote,
        "mlflow.note.content": pipeline.description,
    }
    return {name: value for name, value in known.items() if value}


def process_tags(handoff: Handoff | None) -> dict[str, str]:
    """Tags of the process that trains, by which a run can be closed whose process was killed."""
    return owner_tags(submission_id=submission_id() or "", address=handoff.ray_address if handoff else "")


def _digest_of_files(path: Path) -> str:
    """SHA-256 over a file, or over the files of a folder by name."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return digest_of_sums(map(file_digest, files))
