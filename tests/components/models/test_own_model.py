"""Models of a file: what they are given, what is refused, and that they are saved with their code."""

import keras
import numpy as np
import pytest

from headrace.components.errors import DataError, ParamsError
from headrace.components.models.own_model import ModelLabel, build_own_model, own_parts, taken_by
from headrace.components.models.settings import OwnModel
from headrace.components.own_code.importable_code import OwnCode
from headrace.components.serving_model.keras_file import write_keras_file
from headrace.components.serving_model.saved_model import load_model

FILE = "models/own.py"
LABEL = ModelLabel(name="kind", type="category", outputs=3, classes=("a", "b", "c"))
HEAD = "import keras\nfrom keras import layers\n\n"


def built(
    text: str, *, inputs=None, label: ModelLabel = LABEL, pretrained=None, **settings
) -> tuple[keras.Model, OwnCode]:
    code = OwnCode({FILE: HEAD + text})
    model = OwnModel.model_validate({"file": FILE, **settings})
    with code.importable():
        shapes = inputs or {"features": (4,)}
        return build_own_model(model, code, inputs=shapes, label=label, pretrained=pretrained), code


FUNCTIONAL = (
    "def build_model(inputs, label):\n    return keras.Model(inputs, layers.Dense(label.outputs)(inputs['features']))"
)
NO_STRUCTURE = FUNCTIONAL.replace("Model(inputs,", "Model(inputs['features'],")
SEQUENTIAL = "def build_model(inputs, label):\n    return keras.Sequential([layers.Dense(len(label.classes))])"
SUBCLASS = """@keras.saving.register_keras_serializable(package="own")
class Own(keras.Model):
    def __init__(self, outputs, **others):
        super().__init__(**others)
        self.outputs_ = outputs
        self.dense = layers.Dense(outputs)

    def call(self, values):
        return self.dense(values)

    def get_config(self):
        return {"outputs": self.outputs_}


def build_model(inputs, label):
    return Own(label.outputs)
"""


@pytest.mark.parametrize("text", [FUNCTIONAL, NO_STRUCTURE, SEQUENTIAL, SUBCLASS])
def test_every_kind_of_model_takes_its_only_input(text):
    model, _ = built(text)
    values = {"features": np.ones((2, 4), np.float32)}
    assert model(taken_by(model, {"features": (4,)})(values)).shape == (2, 3)


SEVERAL = """def build_model(inputs, label):
    joined = layers.Concatenate()([inputs["deep"], layers.Flatten()(inputs["image"])])
    return keras.Model([inputs["image"], inputs["deep"]], layers.Dense(label.outputs)(joined))
"""


def test_several_inputs_are_taken_by_name_in_the_structure_that_the_model_has():
    inputs = {"deep": (2,), "image": (3, 3, 1)}
    model, _ = built(SEVERAL, inputs=inputs)
    taken = taken_by(model, inputs)({name: np.zeros((5, *shape), np.float32) for name, shape in inputs.items()})
    assert [one.shape for one in taken] == [(5, 3, 3, 1), (5, 2)]
    subclass, _ = built(SUBCLASS.replace("self.dense(values)", "self.dense(values['deep'])"), inputs=inputs)
    assert set(taken_by(subclass, inputs)({"deep": 1, "image": 2})) == {"deep", "image"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def build_model(inputs, label):\n    return 3", "build_model returned int, expected a keras.Model"),
        (
            FUNCTIONAL.replace("label.outputs", "7"),
            r"expected outputs of shape \(batch, 3\).*classes a, b, c, found \(batch, 7\)",
        ),
        (
            FUNCTIONAL.replace("Dense(label.outputs)", "Dense(3, dtype='float16')"),
            "expected outputs of float32, found float16",
        ),
        ("def build_model(inputs, label):\n    return inputs['image']", r"^models/own.py:5: KeyError: 'image'$"),
        (
            SEQUENTIAL.replace("layers.Dense", "layers.Conv2D(2, 3), layers.Dense"),
            "the model can't take its inputs: ValueError: .*ndim=4",
        ),
        (
            "class build_model(keras.Model):\n    pass",  # which Keras takes for a Functional model of its arguments
            "^models/own.py: build_model: ValueError: All `outputs` values must be KerasTensors",
        ),
        (
            SUBCLASS.replace("self.dense(values)", "values['x']"),
            r"^models/own.py:12: the model can.t take its inputs: ",
        ),
    ],
)
def test_a_model_that_can_not_be_trained_is_refused_with_its_place(text, said):
    with pytest.raises(ParamsError, match=said):
        built(text)


def test_a_sequential_model_of_several_inputs_is_refused():
    with pytest.raises(ParamsError, match=r"the inputs are a, b, and the model is Sequential, which takes one"):
        built(SEQUENTIAL, inputs={"a": (1,), "b": (1,)})


def test_a_function_that_returns_the_same_model_again_is_refused():
    text = "def build_model(inputs, label):\n    return MADE\n\nMADE = keras.Sequential([layers.Dense(3)])"
    first, _ = built(text)
    with pytest.raises(ParamsError, match="returned the same model twice, expected a new one for each call"):
        built(text)
    assert first.built


def parts_of(text: str, **functions: str):
    code = OwnCode({FILE: HEAD + text})
    with code.importable():
        settings = OwnModel.model_validate({"file": FILE, **functions})
        return own_parts(settings, code, label=LABEL, steps_per_epoch=2, epochs=3)


def test_the_parts_of_the_file_are_those_that_the_settings_name():
    text = "def metrics(label):\n    return [keras.metrics.AUC()]\n\ndef loss(label):\n    return keras.losses.Hinge()"
    parts = parts_of(text, metrics="metrics")
    assert isinstance(parts.metrics[0], keras.metrics.AUC)
    assert parts.loss is parts.optimizer is parts.callbacks is None
    assert isinstance(parts_of(text, loss="loss").loss, keras.losses.Hinge)


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("loss", "def loss(label):\n    return 'mse'", "^models/own.py: loss returned 'mse', expected a keras Loss"),
        ("loss", "def loss(label):\n    return [keras.losses.Hinge()]", r"loss returned \[.*, expected a keras Loss"),
        ("metrics", "def metrics(label):\n    return 'auc'", "returned 'auc', expected a list of keras Metric"),
        ("callbacks", "def callbacks():\n    return 3", "callbacks returned 3, expected a list of keras Callback"),
        ("optimizer", "def optimizer():\n    return 3", "optimizer: TypeError: .*unexpected keyword argument"),
        ("loss", "def loss(label):\n    raise SystemExit(0)", "^models/own.py:5: SystemExit: 0$"),
    ],
)
def test_a_part_of_the_file_must_be_what_it_is_for(key, text, said):
    with pytest.raises(ParamsError, match=said):
        parts_of(text, **{key: key})


def test_a_saved_model_runs_its_code_only_where_it_is_accepted(tmp_path):
    model, code = built(SUBCLASS)
    path, values = tmp_path / "model.keras", np.ones((2, 4), np.float32)
    with code.importable():
        write_keras_file(model, path, sources=code.sources)
    with pytest.raises(DataError, match=r"holds code of a project, models/own.py, which is not code of this project"):
        load_model(path)
    seen = []
    loaded = load_model(path, may_run=lambda sources: bool(seen.append(dict(sources)) or True))
    assert seen == [code.sources]
    np.testing.assert_array_equal(loaded(values), model(values))


BACKBONE = """def build_model(inputs, label, *, weights, trainable: bool = False):
    network = keras.applications.MobileNetV2(
        input_shape=(32, 32, 3), alpha=0.35, include_top=False, weights=weights, pooling="avg", name="network"
    )
    network.trainable = trainable
    features = network(keras.applications.mobilenet_v2.preprocess_input(255 * inputs["photo"]), training=False)
    return keras.Model(inputs, layers.Dense(label.outputs)(layers.Dropout(0.2)(features)))
"""
PHOTO = {"photo": (32, 32, 3)}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A small MobileNetV2, and a file of its weights."""
    made = keras.applications.MobileNetV2(input_shape=(32, 32, 3), alpha=0.35, include_top=False, weights=None)
    file = tmp_path_factory.mktemp("weights") / "small.weights.h5"
    made.save_weights(file)
    return made, file


def test_a_function_that_takes_weights_gets_their_path(network, tmp_path):
    made, file = network
    model, code = built(BACKBONE, inputs=PHOTO, pretrained=file)
    backbone = model.get_layer("network")
    for one, other in zip(backbone.get_weights(), made.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(model.trainable_variables) == 2, "the backbone is frozen"
    with code.importable():
        write_keras_file(model, tmp_path / "model.keras", sources=code.sources)
    loaded = load_model(tmp_path / "model.keras", may_run=lambda sources: True)
    photos = {"photo": np.random.default_rng(0).uniform(size=(2, 32, 32, 3)).astype(np.float32)}
    np.testing.assert_allclose(loaded(photos), model(photos), rtol=1e-6)
    assert len(loaded.trainable_variables) == 2


def test_weights_of_another_network_are_refused_with_the_line_that_loads_them(network):
    _, file = network
    with pytest.raises(
        ParamsError, match=r"^models/own.py:5: (UserWarning: Skipping|ValueError: A total of)"
    ) as refused:
        built(BACKBONE.replace("0.35", "0.5"), inputs=PHOTO, pretrained=file)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 700


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (FUNCTIONAL, "all.weights.h5"),
        (FUNCTIONAL, "all.keras"),
        (FUNCTIONAL, "all.h5"),  # as Keras 2 wrote it
        (SUBCLASS, "all.weights.h5"),
        (SUBCLASS, "all.keras"),
    ],
)
def test_a_function_without_that_argument_gets_them_loaded(text, name, tmp_path):
    first, code = built(text)
    file = tmp_path / name
    with code.importable():
        (first.save_weights if ".weights" in name else first.save)(file)
    second, _ = built(text, pretrained=file)
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_loaded_weights_must_fit_the_whole_model(network):
    _, file = network
    said = (
        r"models/own.py: build_model: the weights of small.weights.h5 are not those of this model: .*argument 'weights'"
    )
    with pytest.raises(ParamsError, match=said):
        built(FUNCTIONAL, pretrained=file)
    without = BACKBONE.replace(", *, weights, trainable: bool = False", "").replace("weights=weights", "weights=None")
    with pytest.raises(ParamsError, match=said):  # they are of a part
        built(without.replace("= trainable", "= False"), inputs=PHOTO, pretrained=file)


def test_annotations_of_weights_may_be_a_text_or_a_path(network):
    _, file = network
    for annotation in ("str", "str | None", "pathlib.Path"):
        text = "import pathlib\n\n" + BACKBONE.replace("*, weights", f"*, weights: {annotation}")
        built(text, inputs=PHOTO, pretrained=file)


@pytest.mark.parametrize(
    "file", ["/models/a.py", "../a.py", "models/a.txt", "models/../a.py", "my models/a.py", "./a.py"]
)
def test_a_path_that_is_no_module_of_the_project_is_refused(file):
    with pytest.raises(ValueError, match=r"expected (the path of a Python file|a path of names)"):
        OwnModel(file=file)
