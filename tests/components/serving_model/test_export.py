"""Exported models give what the Keras model gives, loaded as servers and devices load them."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from headrace.components.errors import DataError
from headrace.components.models.build import build
from headrace.components.models.settings import Model
from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.labels import CategoryLabel, NumberLabel
from headrace.components.serving_model.export import export_saved_model, export_tflite
from headrace.components.tasks.variants import task_of
from headrace.components.training.feeding.split_arrays import input_shape
from headrace.components.transforms.fitted_table import FittedFeature, FittedTable
from headrace.components.transforms.impute import FittedImpute
from headrace.components.transforms.one_hot import FittedOneHot
from headrace.components.transforms.scale_pixels import FittedScalePixels
from headrace.components.transforms.standardize import FittedStandardize

IMAGE = FittedTable(
    features={
        "image": FittedFeature(
            feature=ImageFeature(height=8, width=8), transforms=(FittedScalePixels(maximum=255),), shape=(8, 8, 1)
        )
    },
    label=CategoryLabel(name="digit", classes=("0", "1", "2")),
    training_examples=10,
)
FARE = (FittedImpute(value=14.5, indicator=True), FittedStandardize(mean=30.0, standard_deviation=50.0))
PORT = (FittedImpute(value="S", indicator=False), FittedOneHot(categories=("C", "Q", "S")))
ROWS = FittedTable(
    features={
        "fare": FittedFeature(feature=NumberFeature(nullable=True), transforms=FARE, shape=(2,)),
        "port": FittedFeature(feature=CategoryFeature(nullable=True), transforms=PORT, shape=(4,)),
    },
    label=NumberLabel(name="age"),
    label_transform=FittedStandardize(mean=29.0, standard_deviation=14.0),
    training_examples=10,
)
CONVOLUTION = [
    {"kind": "conv2d", "filters": 4, "kernel_size": 3, "activation": "relu"},
    {"kind": "batch_normalization"},
    {"kind": "local_response_normalization"},
    {"kind": "max_pooling2d", "pool_size": 2},
]
INPUTS = {
    "image": {"image": np.random.default_rng(1).integers(0, 256, (5, 8, 8, 1)).astype(np.float32)},
    "rows": {
        "fare": np.array([[7.25], [np.nan], [512.0]], np.float32),
        "port": np.array([["C"], [""], ["Ωmega"]], object),
    },
}


@pytest.fixture(scope="module")
def models():
    keras.utils.set_random_seed(3)
    dense = [{"kind": "dense", "units": 8, "activation": "silu"}]
    return {"image": whole(CONVOLUTION + dense, IMAGE), "rows": whole(dense, ROWS)}


def whole(layers, fitted) -> keras.Model:
    task = task_of(fitted.label)
    core = build(Model.model_validate({"layers": layers}), input_shape=input_shape(fitted), output=task.output(None))
    return task.saved_model(core, fitted)


@pytest.fixture(scope="module")
def saved(models, tmp_path_factory):
    folders = {name: tmp_path_factory.mktemp("saved") / name / "1" for name in models}
    for name, folder in folders.items():
        export_saved_model(models[name], folder)
    return folders


@pytest.fixture(params=["image", "rows"])
def name(request):
    return request.param


@pytest.fixture
def inputs(name):
    return INPUTS[name]


@pytest.fixture
def expected(models, name, inputs):
    return np.asarray(models[name](inputs))


def as_bytes(inputs):
    return {
        name: np.char.encode(array.astype(str), "utf-8").astype(object) if array.dtype == object else array
        for name, array in inputs.items()
    }


def test_a_saved_model_gives_the_same_one_row_or_many(saved, name, inputs, expected):
    signature = tf.saved_model.load(str(saved[name])).signatures["serving_default"]
    for rows in (slice(None), slice(1)):
        outputs = signature(**{name: tf.constant(array[rows]) for name, array in as_bytes(inputs).items()})
        np.testing.assert_allclose(outputs["output_0"], expected[rows], rtol=1e-5, atol=1e-5)


def test_a_saved_model_is_served_by_a_session_as_a_server_does(saved, name, inputs, expected):
    """TensorFlow Serving loads the graph and runs its initializer: no Python object of the model is made again."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], str(saved[name]))
        signature = graph.signature_def["serving_default"]
        assert set(signature.inputs) == set(inputs)
        fed = {signature.inputs[name].name: array for name, array in as_bytes(inputs).items()}
        outputs = session.run(signature.outputs["output_0"].name, fed)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")
def test_a_tflite_file_gives_the_same_with_built_in_operations_only(models, name, inputs, expected, tmp_path):
    export_tflite(models[name], tmp_path / "model.tflite")
    interpreter = tf.lite.Interpreter(str(tmp_path / "model.tflite"))
    for rows in (slice(None), slice(1)):
        run = interpreter.get_signature_runner("serving_default")
        outputs = run(**{name: array[rows] for name, array in as_bytes(inputs).items()})["output_0"]
        np.testing.assert_allclose(outputs, expected[rows], rtol=1e-5, atol=1e-5)
    operations = {operation["op_name"] for operation in interpreter._get_ops_details()}
    assert not [name for name in operations if name.startswith(("Flex", "CUSTOM"))], operations


def test_an_operation_that_tensorflow_lite_lacks_is_said_in_a_line(tmp_path):
    text = keras.Input((1,), dtype="string", name="text")
    hashed = keras.layers.Hashing(num_bins=3, output_mode="one_hot")(text)
    lacks = "TensorFlow Lite can't run this model: it has no StringToHashBucketFast; export a saved_model"
    with pytest.raises(DataError, match=lacks):
        export_tflite(keras.Model({"text": text}, keras.layers.Dense(1)(hashed)), tmp_path / "model.tflite")
    assert not (tmp_path / "model.tflite").exists()


ODD = [
    "Preis (€)",
    "a: b",
    "c#d",
    "x[1]",
    "größe {m}",
    "it's",
    '"q"',
    "tab\there",
    "한국어",
    "😀",
    "class",
    "1a",
    "self",
]
ODD += ["Speed", "speed", "training", "inputs", "a b", "a_b", "x" * 300, "lambda x", "..."]


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")
def test_columns_of_any_name_are_exported_under_names_that_programs_can_use(tmp_path):
    inputs = {name: keras.Input((1,), name=name) for name in ODD}
    words = keras.Input((1,), name="Wort (de)", dtype="string")
    rank = keras.ops.cast(keras.layers.StringLookup(vocabulary=["ja", "nein"])(words), "float32")
    weighted = sum(float(place) * one for place, one in enumerate(inputs.values(), start=1))
    model = keras.Model({**inputs, "Wort (de)": words}, weighted + rank)
    export_saved_model(model, tmp_path / "1")
    names = json.loads((tmp_path / "1" / "assets.extra" / "inputs.json").read_text())
    assert list(names) == [*ODD, "Wort (de)"]
    rows = {name: np.float32([[place]]) for place, name in enumerate(ODD)} | {
        "Wort (de)": np.array([[b"nein"]], object)
    }
    expected = sum(place * (place + 1) for place in range(len(ODD))) + 2
    given = {names[name]: tf.constant(value) for name, value in rows.items()}
    saved = tf.saved_model.load(str(tmp_path / "1")).signatures["serving_default"]
    assert saved(**given)["output_0"].numpy() == [[expected]]
    export_tflite(model, tmp_path / "model.tflite")
    interpreter = tf.lite.Interpreter(str(tmp_path / "model.tflite"))
    run = interpreter.get_signature_runner("serving_default")
    assert run(**{name: value.numpy() for name, value in given.items()})["output_0"] == [[expected]]
