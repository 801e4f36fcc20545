"""Models of a file: what they are given, what is refused, and that they are saved with their code."""

import keras
import numpy as np
import pytest

from headrace.components.errors import DataError, ParamsError
from headrace.components.models.own_model import ModelLabel, build_own_model, own_part, taken_by
from headrace.components.models.settings import OwnModel
from headrace.components.own_code.importable_code import OwnCode
from headrace.components.serving_model.keras_file import write_keras_file
from headrace.components.serving_model.saved_model import load_model

FILE = "models/own.py"
LABEL = ModelLabel(name="kind", type="category", outputs=3, classes=("a", "b", "c"))
HEAD = "import keras\nfrom keras import layers\n\n"


def built(text: str, *, inputs=None, label: ModelLabel = LABEL, **settings) -> tuple[keras.Model, OwnCode]:
    code = OwnCode({FILE: HEAD + text})
    model = OwnModel.model_validate({"file": FILE, **settings})
    with code.importable():
        return build_own_model(model, code, inputs=inputs or {"features": (4,)}, label=label), code


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


def test_a_part_of_the_file_must_be_what_it_is_for():
    code = OwnCode(
        {FILE: HEAD + "def loss(label):\n    return 'mse'\n\ndef metrics(label):\n    return [keras.metrics.AUC()]"}
    )
    settings = OwnModel(file=FILE, loss="loss", metrics="metrics")
    with code.importable():
        [metric] = own_part(settings, code, "metrics", LABEL, returns=keras.metrics.Metric)
        assert isinstance(metric, keras.metrics.AUC)
        with pytest.raises(ParamsError, match=r"models/own.py: loss returned 'mse', expected keras Loss"):
            own_part(settings, code, "loss", LABEL, returns=keras.losses.Loss)


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


@pytest.mark.parametrize(
    "file", ["/models/a.py", "../a.py", "models/a.txt", "models/../a.py", "my models/a.py", "./a.py"]
)
def test_a_path_that_is_no_module_of_the_project_is_refused(file):
    with pytest.raises(ValueError, match=r"expected (the path of a Python file|a path of names)"):
        OwnModel(file=file)
