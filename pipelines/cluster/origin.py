"""Where a training comes from: its name by content, the data and code behind it, and the process that trains."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import components
from pipelines.cluster.handoff import Handoff, git_commit, owner, submission_id
from pipelines.params import Pipeline
from pipelines.paths import PipelinePaths
from pipelines.tracking.sweep import owner_tags

# Settings of a training that don't change its weights (by more than rounding): it goes on, or is known again, when
# these are changed.
WITHOUT_EFFECT = ("num_workers", "use_gpu", "max_failures", "start_timeout_seconds", "checkpoints")


def content_digest(pipeline: Pipeline, paths: PipelinePaths, start_weights: Path | None) -> str:
    """Return a digest of what the weights depend on: data, transforms, settings, weights to begin with, and code."""
    settings = pipeline.train.model_dump_json(exclude=set(WITHOUT_EFFECT))
    contents = [_data_digest(paths).encode(), paths.statistics.read_bytes(), settings.encode()]
    start = start_weights
    started = sorted(start.rglob("*") if start.is_dir() else [start]) if start else []
    code = Path(components.__file__).parent
    files = [file for folder in ("models", "training", "transforms") for file in sorted((code / folder).rglob("*.py"))]
    contents += [file.read_bytes() for file in (*started, *files) if file.is_file()]
    return hashlib.sha256(b"\0".join(contents)).hexdigest()


def origin_of(pipeline: Pipeline, paths: PipelinePaths, *, run_name: str, handoff: Handoff | None) -> dict[str, Any]:
    """Return what run.json and the MLflow run say of where a training comes from."""
    return {
        "pipeline": pipeline.name,
        "run_name": run_name,
        "mlflow_experiment": f"headrace/{pipeline.name}",
        "ray_job_id": submission_id() or os.environ.get("RAY_JOB_ID", "embedded"),
        "data_digest": _data_digest(paths),
        "git_commit": handoff.git_commit if handoff else git_commit(paths.root),
        "num_workers": pipeline.train.max_workers,
        "owner": handoff.owner if handoff else owner(),
    }


def process_tags(handoff: Handoff | None) -> dict[str, str]:
    """Return who trains: by this a run can be closed whose process ended without a word."""
    return owner_tags(submission_id=submission_id() or "", address=handoff.ray_address if handoff else "")


def _data_digest(paths: PipelinePaths) -> str:
    return str(json.loads(paths.manifest.read_text(encoding="utf-8"))["digest"])
