"""The examples of docs/own-code.md for a pretrained backbone: settings that are read, files that make models."""

import importlib.util
import re
from pathlib import Path

import keras
import pytest
import yaml

from headrace.components.models.own_model import ModelLabel, build_own_model
from headrace.components.models.own_model_code import model_code
from headrace.components.models.settings import OwnModel
from headrace.components.training.optimization.layer_rates import require_layers
from headrace.components.training.settings import LayerRate

SECTION = re.compile(r"## A pretrained backbone\n(.*?)\n## ", re.DOTALL)
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
LABEL = ModelLabel("flower", "category", 2, ("daisy", "roses"))


@pytest.fixture
def blocks(repository) -> list[tuple[str, str]]:
    [section] = SECTION.findall((repository / "docs" / "own-code.md").read_text(encoding="utf-8"))
    found = BLOCK.findall(section)
    assert [language for language, _ in found] == ["yaml", "python", "yaml", "yaml", "python"]
    return [text for _, text in found]


def built(folder: Path, text: str, settings: OwnModel, inputs, pretrained: Path) -> keras.Model:
    (folder / "models").mkdir()
    (folder / settings.file).write_text(text, encoding="utf-8")
    code = model_code(folder, settings)
    with code.importable():
        return build_own_model(settings, code, inputs=inputs, label=LABEL, pretrained=pretrained)


def test_the_backbone_is_frozen_and_then_fine_tuned_at_another_rate(blocks, tmp_path):
    first, text, second, *_ = blocks
    settings = OwnModel.model_validate(yaml.safe_load(first)["train"]["model"])
    network = keras.applications.MobileNet(input_shape=(32, 32, 3), alpha=0.25, include_top=False, weights=None)
    file = tmp_path / "small.weights.h5"
    network.save_weights(file)
    changes = yaml.safe_load(second)["train"]
    fine_tuned = settings.model_copy(update=changes["model"])
    for one, trained in ((settings, 2), (fine_tuned, len(network.trainable_variables) + 2)):
        folder = tmp_path / str(trained)
        folder.mkdir()
        model = built(folder, text, one, {"photo": (32, 32, 3)}, file)
        assert len(model.trainable_variables) == trained
    rates = [LayerRate.model_validate(rate) for rate in changes["optimizer"]["rates"]]
    assert set(require_layers(model, rates, place="rates").values()) == {0.01}


@pytest.mark.skipif(importlib.util.find_spec("keras_hub") is None, reason="needs headrace[hub]")
def test_a_preset_of_kerashub_is_read_from_its_folder(blocks, tmp_path):
    import keras_hub

    *_, settings, text = blocks
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=20, num_layers=1, num_heads=1, hidden_dim=4, intermediate_dim=8, max_sequence_length=6
    )
    backbone.save_to_preset(str(tmp_path / "bert_tiny"))
    one = OwnModel.model_validate(yaml.safe_load(settings)["model"])
    model = built(tmp_path, text, one, {"text": (6,)}, tmp_path / "bert_tiny")
    assert model.output_shape == (None, 2)
    table = {weight.path.rpartition("/")[2]: weight.shape for weight in model.weights}["embeddings"]
    assert tuple(table) in {(20, 4), (6, 4), (2, 4)}
