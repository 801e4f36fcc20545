"""The identity of a training: each thing that decides its weights changes it, and nothing else does."""

import warnings
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pytest

from headrace.components.errors import ParamsError
from headrace.components.numerics import PACKAGES
from headrace.pipelines import headrace_lock
from headrace.pipelines.artifacts.artifact import write_artifact
from headrace.pipelines.artifacts.split_manifest import OverlapCounts, SplitManifest, SplitSummary
from headrace.pipelines.params import Train, list_pipelines, load_pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.remote_training.provenance import (
    WITHOUT_EFFECT,
    deciding_settings,
    identity_digest,
    training_identity,
)

# Another value of every setting of `train`; a new setting must be thought of here.
OTHER: dict[str, Any] = {
    "model": {"layers": [{"kind": "dense", "units": 9}]},
    "optimizer": {"kind": "sgd", "learning_rate": 0.5},
    "global_batch_size": 48,
    "epochs": 7,
    "steps_per_epoch": 5,
    "seed": 99,
    "best_by": "loss",
    "early_stopping": {"patience_epochs": 3},
    "class_weights": "balanced",
    "label_smoothing": 0.2,
    "loss": {"kind": "focal"},
    "calibration": "temperature",
    "window_examples": 512,
    "precision": "mixed_bfloat16",
    "jit_compile": True,
    "gradient_compression": "bfloat16",
    "steps_per_execution": 4,
    "start_from": "@champion",
    "num_workers": 1,
    "threads_per_worker": 1,
    "reproducible": "bitwise",
    "use_gpu": True,
}
OF_BITWISE = {"logical_shards": 8}
UNCHANGED: dict[str, Any] = {
    "max_failures": 9,
    "start_timeout_seconds": 33,
    "capacity_timeout_seconds": 44,
    "checkpoints": {"keep_last": 3},
    "allow_untested_keras": True,
    "equality": "off",
    "resources_per_worker": {"memory_bytes": 1 << 30},
    "placement": "spread",
    "data_cache_bytes": 1 << 20,
    "driver": {"cores": 0.5},
}


@pytest.fixture
def project(tmp_path, repository):
    pipeline, paths = load_pipeline(repository / "params.yaml", "digits"), PipelinePaths(tmp_path, "digits")
    write_manifest(paths, digest="d" * 64)
    paths.statistics.parent.mkdir(parents=True)
    paths.statistics.write_text("{}")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "a.npz").write_bytes(b"weights")
    return pipeline, paths


def write_manifest(paths, *, digest: str, test_digest: str = "e" * 64) -> None:
    splits = {name: SplitSummary(examples=4, digest=test_digest) for name in ("train", "validation", "test")}
    overlap = OverlapCounts(by_id=0, by_content=0, left_out=0)
    manifest = SplitManifest(pipeline=paths.pipeline, seed=1, digest=digest, overlap=overlap, splits=splits)
    write_artifact(paths.manifest, manifest)


def name(pipeline, paths, start=None) -> str:
    return identity_digest(training_identity(pipeline, paths, start))


def with_train(pipeline, **changes):
    train = Train.model_validate({**pipeline.train.model_dump(), **changes})
    return pipeline.model_copy(update={"train": train})


def test_every_setting_was_thought_of():
    assert OTHER.keys() | UNCHANGED.keys() | OF_BITWISE.keys() == Train.model_fields.keys()
    assert UNCHANGED.keys() | {"use_gpu"} == set(WITHOUT_EFFECT)


@pytest.mark.parametrize("setting", OTHER)
def test_a_setting_that_decides_weights_changes_the_name(project, setting):
    pipeline, paths = project
    assert name(with_train(pipeline, **{setting: OTHER[setting]}), paths) != name(pipeline, paths)


def test_cores_of_a_worker_are_its_threads_which_decide_weights(project):
    pipeline, paths = project
    two_cores = with_train(pipeline, resources_per_worker={"cores": 2})
    assert name(two_cores, paths) != name(pipeline, paths)
    assert name(two_cores, paths) == name(with_train(pipeline, threads_per_worker=2), paths)


VARIANTS: dict[str, list[Any]] = {  # each with nothing but what distinguishes it from the others
    "optimizer": [{"kind": kind, "learning_rate": 0.01} for kind in ("sgd", "adam", "rmsprop", "adagrad", "lion")],
    "loss": [None, *({"kind": kind} for kind in ("huber", "log_cosh", "mean_absolute_error", "focal"))],
    "model": [
        {"layers": [{"kind": kind}]}
        for kind in ("flatten", "batch_normalization", "layer_normalization", "max_pooling2d", "average_pooling2d")
    ],
}


@pytest.mark.parametrize("setting", VARIANTS)
def test_variants_that_differ_in_their_kind_alone_have_names_of_their_own(project, setting):
    pipeline, paths = project
    names = [name(with_train(pipeline, **{setting: variant}), paths) for variant in VARIANTS[setting]]
    assert len(set(names)) == len(names)


def test_an_identity_says_all_that_a_training_was_set_to(repository):
    file = repository / "params.yaml"
    for pipeline in list_pipelines(file):
        train = load_pipeline(file, pipeline).train
        left_out = train.model_dump(include={*WITHOUT_EFFECT, "logical_shards"})
        assert Train.model_validate({**left_out, **deciding_settings(train)}) == train


@pytest.mark.parametrize("setting", UNCHANGED)
def test_a_setting_that_decides_no_weight_keeps_the_name(project, setting):
    pipeline, paths = project
    assert name(with_train(pipeline, **{setting: UNCHANGED[setting]}), paths) == name(pipeline, paths)


@pytest.mark.parametrize("changes", [{"num_workers": 1}, {"num_workers": {"max": 4}}, {"threads_per_worker": 3}])
def test_workers_and_threads_keep_the_name_of_a_bitwise_training_alone(project, changes):
    pipeline, paths = project
    bitwise = with_train(pipeline, reproducible="bitwise")
    assert name(with_train(bitwise, **changes), paths) == name(bitwise, paths)
    assert name(with_train(pipeline, **changes), paths) != name(pipeline, paths)


def test_logical_shards_change_the_name_of_a_bitwise_training_alone(project):
    pipeline, paths = project
    bitwise = with_train(pipeline, reproducible="bitwise")
    assert name(with_train(bitwise, logical_shards=8), paths) != name(bitwise, paths)
    assert name(with_train(pipeline, logical_shards=8), paths) == name(pipeline, paths)


@pytest.mark.parametrize("package", PACKAGES["train"])
def test_another_version_of_a_package_changes_the_name(project, monkeypatch, package):
    before, real = name(*project), headrace_lock.version
    monkeypatch.setattr(headrace_lock, "version", lambda one: "99.0" if one == package else real(one))
    assert name(*project) != before


def test_other_numerics_and_another_python_change_the_name(project, monkeypatch):
    names = {name(*project)}
    monkeypatch.setattr(headrace_lock, "NUMERICS", {**headrace_lock.NUMERICS, "train": 99})
    names.add(name(*project))
    monkeypatch.setattr(headrace_lock.platform, "python_version_tuple", lambda: ("3", "99", "0"))
    names.add(name(*project))
    monkeypatch.setattr(headrace_lock, "mixing_digest", lambda: "0" * 12)
    names.add(name(*project))
    assert len(names) == 4


def test_other_data_statistics_and_first_weights_change_the_name(project):
    pipeline, paths = project
    start = paths.root / "weights"
    names = [name(pipeline, paths), name(pipeline, paths, start), name(pipeline, paths, start / "a.npz")]
    (start / "a.npz").write_bytes(b"others")
    names.append(name(pipeline, paths, start))
    paths.statistics.write_text('{"mean": 1}')
    names.append(name(pipeline, paths, start))
    write_manifest(paths, digest="e" * 64)
    names.append(name(pipeline, paths, start))
    assert len(set(names)) == len(names) - 1  # a folder of one file is that file


def test_pretrained_weights_count_by_their_content(project, tmp_path):
    pipeline, paths = project
    files = [tmp_path / place / "small.h5" for place in ("one", "two", "three")]
    for file, content in zip(files, (b"same", b"same", b"other"), strict=True):
        file.parent.mkdir()
        file.write_bytes(content)
    one, two, three = (identity_digest(training_identity(pipeline, paths, None, pretrained=file)) for file in files)
    assert one == two
    assert len({one, three, name(pipeline, paths)}) == 3
    assert "weights" not in training_identity(pipeline, paths, None), "a training without them keeps its name"


@pytest.mark.parametrize(("line", "counts"), [("import keras_hub", True), ("import keras", False)])
def test_a_version_of_kerashub_counts_where_own_code_imports_it(project, tmp_path, monkeypatch, line, counts):
    pipeline, paths = project
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "own.py").write_text(f"{line}\n\ndef build_model(inputs, label):\n    pass\n")
    own = with_train(pipeline, model={"file": "models/own.py"})
    real = headrace_lock.version
    names = set()
    for number in ("1.0", "2.0"):
        monkeypatch.setattr(headrace_lock, "version", lambda one, n=number: n if one == "keras-hub" else real(one))
        names.add(name(own, paths))
    assert len(names) == (2 if counts else 1)


def test_own_code_that_needs_kerashub_says_how_to_install_it(project, tmp_path, monkeypatch):
    pipeline, paths = project
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "own.py").write_text(
        "from keras_hub import models\n\ndef build_model(inputs, label):\n    pass\n"
    )
    monkeypatch.setattr(headrace_lock, "version", missing_hub)
    with pytest.raises(ParamsError, match=r"needs KerasHub, which is not installed: pip install 'headrace\[hub\]'"):
        name(with_train(pipeline, model={"file": "models/own.py"}), paths)


def missing_hub(package: str) -> str:
    if package == "keras-hub":
        raise PackageNotFoundError(package)
    return version(package)


def test_settings_of_other_stages_keep_the_name(project):
    pipeline, paths = project
    with warnings.catch_warnings():
        other = pipeline.model_copy(update={"description": "another", "name": "another"})
    assert name(other, paths) == name(pipeline, paths)
