"""A network that was trained elsewhere, on photos of flowers: its head first, then all of it at lower rates.

The model file is that of docs/own-code.md. Both trainings are whole runs, by the command that users type.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import pytest
import yaml

from headrace.components.serving_model.saved_model import load_model
from headrace.pipelines.project.trusted_code import code_of_project

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

PIXELS = 96
NO_WORDS: Mapping[str, str] = MappingProxyType({})
MOBILENET = "mobilenet_2_5_224_tf_no_top.h5"


@pytest.fixture
def fine_tuning(project, repository, shared_data, headrace):
    """Runs the pipeline flowers with a model of docs/own-code.md, or one that differs in some words."""
    page = (repository / "docs" / "own-code.md").read_text(encoding="utf-8")
    first, text, second = re.findall(r"```(?:yaml|python)\n(.*?)```", page.partition("## A pretrained")[2], re.DOTALL)[
        :3
    ]
    model = yaml.safe_load(first)["train"]["model"]
    changes = yaml.safe_load(second)["train"]
    params = yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))
    flowers = params["flowers"]
    flowers["ingest"]["features"]["photo"] |= {"height": PIXELS, "width": PIXELS}
    flowers["normalize"] = {"transforms": {"photo": [{"kind": "scale_pixels"}]}}
    flowers["register"] = {"thresholds": {"accuracy": {"minimum": 0.1}}, "compare": {"metric": "accuracy"}}
    flowers["results"] = {}

    def run(*, fine_tune: bool, network: Any, epochs: int, words: Mapping[str, str] = NO_WORDS) -> float:
        train = flowers["train"]
        written = text
        for old, new in words.items():
            written = written.replace(old, new)
        (project / "models" / "flowers.py").write_text(written, encoding="utf-8")
        optimizer = yaml.safe_load(first)["train"]["optimizer"]
        train |= {"model": {**model, "weights": network}, "optimizer": optimizer, "epochs": epochs}
        if fine_tune:
            train |= {"start_from": changes["start_from"], "optimizer": changes["optimizer"]}
            train["model"] |= changes["model"]
        (project / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
        headrace(project, "run", "flowers", HEADRACE_MIRROR=str(shared_data))
        return json.loads((project / "reports" / "flowers" / "metrics.json").read_text())["accuracy"]

    return project, model["weights"], run


def backbone(project: Path) -> list[np.ndarray]:
    """Weights of the backbone in the saved model."""
    model = load_model(project / "models" / "flowers" / "model.keras", may_run=code_of_project(project))
    [layer] = [layer for layer in model._flatten_layers() if layer.name == "backbone"]
    return layer.get_weights()


def test_a_backbone_trained_on_imagenet_learns_flowers(fine_tuning, shared_data):
    project, weights, run = fine_tuning
    frozen = run(fine_tune=False, network=weights, epochs=6)
    published = keras.applications.MobileNet(
        input_shape=(PIXELS, PIXELS, 3),
        alpha=0.25,
        include_top=False,
        weights=str(shared_data / "weights" / MOBILENET),
        pooling="avg",
    )
    for one, other in zip(backbone(project), published.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert frozen >= 0.7  # by guessing: 0.2

    fine_tuned = run(fine_tune=True, network=weights, epochs=3)
    moved = [np.abs(one - other).max() for one, other in zip(backbone(project), published.get_weights(), strict=True)]
    assert max(moved) > 0
    assert fine_tuned >= frozen - 0.05


def test_a_mobilenet_v2_of_a_file_of_the_project_is_frozen_and_fine_tuned(fine_tuning):
    """Whose weights are random: those of ImageNet are not among the data sets."""
    project, _, run = fine_tuning
    keras.utils.set_random_seed(2)
    network = keras.applications.MobileNetV2(
        input_shape=(PIXELS, PIXELS, 3), alpha=0.35, include_top=False, weights=None, pooling="avg"
    )
    network.save_weights(project / "models" / "small.weights.h5")
    words = {"MobileNet(": "MobileNetV2(", "alpha=0.25": "alpha=0.35"}
    run(fine_tune=False, network="models/small.weights.h5", epochs=1, words=words)
    for one, other in zip(backbone(project), network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    run(fine_tune=True, network="models/small.weights.h5", epochs=1, words=words)
    moved = [np.abs(one - other).max() for one, other in zip(backbone(project), network.get_weights(), strict=True)]
    trained = [move for move, weight in zip(moved, network.weights, strict=True) if weight.trainable]
    assert min(trained) > 0  # moments move, too, as under plain Keras 3.15 in spite of training=False
