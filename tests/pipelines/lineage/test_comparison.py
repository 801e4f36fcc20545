"""What a model that was made again is compared to: equal, close, different since a stage, or not known."""

import shutil
from dataclasses import replace

import pytest

from headrace.pipelines.lineage.comparison import Compared, Comparison, compare_stages
from headrace.pipelines.lineage.named_model import named_version, provenance_of
from headrace.pipelines.paths import PipelinePaths


def part(stage: str, what: str, verdict: str, found: str = "x") -> Compared:
    return Compared(stage=stage, what=what, verdict=verdict, found=found)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["equal", "equal"], "equal"),
        (["equal", "unknown"], "equal"),  # what can't be known decides nothing
        (["equal", "close"], "close"),
        (["differs", "close"], "differs"),
    ],
)
def test_the_worst_part_decides(verdicts, expected):
    comparison = Comparison(parts=tuple(part("train", "weights", one) for one in verdicts))
    assert comparison.verdict == expected


def test_it_says_since_which_stage():
    parts = (
        part("ingest", "examples", "equal"),
        part("train", "weights", "differs", "largest difference 0.11"),
        part("evaluate", "metrics", "differs", "loss 0.4 to 0.5"),
    )
    assert str(Comparison(parts=parts)) == (
        "differs since train: weights: largest difference 0.11; metrics: loss 0.4 to 0.5"
    )


def test_it_says_how_close():
    parts = (part("ingest", "examples", "equal"), part("train", "weights", "close", "largest difference 3e-08"))
    assert str(Comparison(parts=parts)) == "equal to 1e-06: weights largest difference 3e-08"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "expected"),
    [(3e-7, "equal to 1e-06: weights largest difference 3e-07"), (0.01, "differs since train: weights: largest ")],
)
def test_another_models_weights_are_as_far_as_they_are(trained, tmp_path, change, expected):
    """The files of a real training, compared with a registered model whose last weight is another one."""
    import keras

    from headrace.components.serving_model.keras_file import write_keras_file
    from headrace.components.serving_model.saved_model import load_model

    paths = PipelinePaths(trained.root, "line")
    named = named_version(trained.root, "line")
    model = load_model(paths.model)
    last = model.trainable_weights[-1]
    last.assign(keras.ops.zeros_like(last))
    write_keras_file(model, tmp_path / "made.keras")
    last.assign(keras.ops.full_like(last, change))
    write_keras_file(model, tmp_path / "registered.keras")
    shutil.copytree(trained.root, tmp_path / "made")
    made = PipelinePaths(tmp_path / "made", "line")
    shutil.copy(tmp_path / "made.keras", made.model)
    provenance = provenance_of(trained.root, "line", named.version)
    found = compare_stages(
        made,
        provenance,
        version=replace(named.version, tags={**named.version.tags, "weights_digest": "0" * 64}),
        raw={file.name: file.sha256 for file in provenance.raw_files},
        model=tmp_path / "registered.keras",
        outcomes=None,
    )
    assert str(found).startswith(expected)
