"""The model files of the repository: sizes as published, and each learns, is saved and loaded again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from headrace.components.models.own_model import ModelLabel, build_own_model
from headrace.components.models.own_model_code import model_code
from headrace.components.models.settings import OwnModel
from headrace.pipelines.params import list_pipelines, load_pipeline
from headrace.pipelines.project.code_digests import own_code

# Without batch normalization. Where the numbers are from: tests/components/models/test_architectures.py.
PUBLISHED = [
    ("lenet", {}, (28, 28, 1), 10, 61_706),
    ("alexnet", {}, (227, 227, 3), 1000, 62_378_344),
    ("vgg", {"configuration": "A"}, (224, 224, 3), 1000, 132_863_336),
    ("vgg", {"configuration": "B"}, (224, 224, 3), 1000, 133_047_848),
    ("vgg", {}, (224, 224, 3), 1000, 138_357_544),
    ("vgg", {"configuration": "E"}, (224, 224, 3), 1000, 143_667_240),
    ("googlenet", {}, (224, 224, 3), 1000, 6_998_552),
]
SMALL = [
    ("lenet", {}, 32, 0.001),
    ("alexnet", {"width": 0.125, "dropout": 0.1}, 72, 0.001),
    ("vgg", {"configuration": "A", "width": 0.125, "dropout": 0}, 32, 0.001),
    pytest.param("googlenet", {"width": 0.25, "dropout": 0}, 64, 0.003, marks=pytest.mark.long),
]


@pytest.fixture
def without_memory() -> Iterator[None]:
    """Weights have shapes, but no values: VGG's would be half a gigabyte."""
    with keras.StatelessScope(initialize_variables=False):
        yield
    keras.utils.clear_session()  # else the next such scope would make them all


def built(repository: Path, name: str, arguments: dict[str, Any], shape: tuple[int, ...], classes: int) -> keras.Model:
    settings = OwnModel(file=f"models/{name}.py", arguments=arguments)
    label = ModelLabel("label", "category", classes, tuple(map(str, range(classes))))
    code = model_code(repository, settings)
    with code.importable():
        return build_own_model(settings, code, inputs={"image": shape}, label=label)


@pytest.mark.usefixtures("without_memory")
@pytest.mark.parametrize(("name", "arguments", "shape", "classes", "parameters"), PUBLISHED)
def test_the_number_of_weights_is_the_published_one(repository, name, arguments, shape, classes, parameters):
    model = built(repository, name, arguments, shape, classes)
    counted = [layer for layer in model.layers if not isinstance(layer, keras.layers.BatchNormalization)]
    assert sum(layer.count_params() for layer in counted) == parameters


@pytest.mark.slow
@pytest.mark.parametrize(("name", "arguments", "size", "learning_rate"), SMALL)
def test_it_learns_a_small_set_and_is_saved_and_loaded(repository, tmp_path, name, arguments, size, learning_rate):
    keras.utils.set_random_seed(1)
    images, labels = load_digits(n_class=4, return_X_y=True)
    pixels = np.kron(images[:40].reshape(-1, 8, 8) / 16, np.ones((1, size // 8, size // 8)))
    pixels, labels = pixels[..., np.newaxis].astype(np.float32), labels[:40].astype(np.int32)
    model = built(repository, name, arguments, (size, size, 1), 10)
    optimizer = keras.optimizers.Adam(learning_rate)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    model.fit({"image": pixels}, labels, batch_size=20, epochs=60, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert np.mean(np.argmax(loaded({"image": pixels}), axis=-1) == labels) >= 0.9  # by guessing: 0.25


def test_every_model_file_belongs_to_a_pipeline(repository):
    params = repository / "params.yaml"
    codes = [own_code(repository, load_pipeline(params, name)) for name in list_pipelines(params)]
    used = {path for code in codes for path in code.sources}
    assert used == {f"models/{file.name}" for file in (repository / "models").glob("*.py")}
