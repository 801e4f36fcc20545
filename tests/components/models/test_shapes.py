"""A model that can't be built is refused without TensorFlow, and the shapes are those of Keras."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.models.layers.basic import Dense, DropConnect, Flatten
from headrace.components.models.layers.convolutions import Conv2D
from headrace.components.models.layers.normalizations import LocalResponseNormalization
from headrace.components.models.layers.pooling import GlobalPooling2D, Pooling2D
from headrace.components.models.layers.sequences import Embedding
from headrace.components.models.settings import AlexNet, GoogLeNet, LeNet, Model, Vgg
from headrace.components.models.shapes import check_input, check_text, output_shape
from headrace.components.transforms.augment import Augment


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            [Dense(units=3), Conv2D(filters=2, kernel_size=3)],
            r"layers\.1 \(conv2d\): needs an image .* got shape \(3,\)",
        ),
        (
            [Conv2D(filters=2, kernel_size=9, padding="valid")],
            r"layers\.0 \(conv2d\): a window of 9 does not fit into 8",
        ),
        ([Flatten(), Pooling2D(kind="max_pooling2d")], r"layers\.1 \(max_pooling2d\): needs an image"),
        ([Pooling2D(kind="max_pooling2d", pool_size=8), Pooling2D(kind="max_pooling2d")], r"a window of 2 .* into 1"),
    ],
)
def test_a_layer_that_does_not_fit_is_named(layers, message):
    with pytest.raises(ValueError, match=message):
        output_shape(layers, input_shape=(8, 8, 1))


def test_a_table_of_unknown_width_stays_unknown_until_the_first_dense():
    assert output_shape([Flatten()], input_shape=(None,)) == (None,)
    assert output_shape([Dense(units=4)], input_shape=(None,)) == (4,)
    assert output_shape([LocalResponseNormalization(), DropConnect(units=4)], input_shape=(None,)) == (4,)


windows = st.fixed_dictionaries(
    {
        "size": st.integers(1, 12),
        "window": st.integers(1, 5),
        "strides": st.integers(1, 3),
        "padding": st.sampled_from(["valid", "same"]),
    }
)


@settings(max_examples=25, deadline=None)
@given(windows)
def test_the_shape_is_the_one_that_keras_gives(case):
    import keras

    if case["padding"] == "valid" and case["window"] > case["size"]:
        return
    convolution = Conv2D(filters=2, kernel_size=case["window"], strides=case["strides"], padding=case["padding"])
    layers = [convolution, GlobalPooling2D(kind="global_max_pooling2d")]
    tensor = keras.layers.Conv2D(2, case["window"], strides=case["strides"], padding=case["padding"])(
        keras.Input((case["size"], case["size"], 1))
    )
    assert output_shape(layers[:1], input_shape=(case["size"], case["size"], 1)) == tensor.shape[1:]
    assert output_shape(layers, input_shape=(case["size"], case["size"], 1)) == (2,)


@settings(max_examples=200, deadline=None)
@given(windows)
def test_the_size_is_that_of_the_formula(case):
    """(W - K + 2P) / S + 1, rounded down, with the padding P on each side that TensorFlow calls "same", or none."""
    size, window, strides, padding = case["size"], case["window"], case["strides"], case["padding"]
    if padding == "valid" and window > size:
        return
    padded = 0 if padding == "valid" else max(0, (-(-size // strides) - 1) * strides + window - size)  # 2P
    layer = Pooling2D(kind="max_pooling2d", pool_size=window, strides=strides, padding=padding)
    expected = max(0, size - window + padded) // strides + 1
    assert output_shape([layer], input_shape=(size, size, 3)) == (expected, expected, 3)


@pytest.mark.parametrize(
    ("architecture", "smallest"),
    [
        (LeNet(), 28),
        (LeNet(padding=0), 32),
        (AlexNet(), 67),
        (Vgg(), 32),
        (GoogLeNet(), 65),
        (GoogLeNet(auxiliary_heads=False), 1),
    ],
)
def test_too_small_an_image_is_refused_with_the_smallest_size(architecture, smallest):
    model = Model(architecture=architecture)
    check_input(model, input_shape=(smallest, smallest + 1, 3))
    if smallest > 1:
        message = rf"train\.model\.architecture \({architecture.kind}\): .* at least {smallest} x {smallest} pixels"
        with pytest.raises(ValueError, match=message):
            check_input(model, input_shape=(smallest + 1, smallest - 1, 3))


def test_an_architecture_takes_no_table():
    with pytest.raises(ValueError, match=r"\(vgg\): needs an image .* got shape \(None,\)"):
        check_input(Model(architecture=Vgg()), input_shape=(None,))


def test_layers_are_checked_as_before():
    with pytest.raises(ValueError, match=r"layers\.0 \(conv2d\): needs an image"):
        check_input(Model(layers=(Conv2D(filters=2, kernel_size=3),)), input_shape=(None,))


@pytest.mark.parametrize("given", [{"layers": ()}, {"architecture": LeNet()}])
def test_only_images_are_augmented(given):
    model = Model(augment=Augment(shift=0.1), **given)
    check_input(model, input_shape=(28, 28, 1))
    with pytest.raises(ValueError, match=r"train\.model\.augment: changes images .* got shape \(None,\); leave it out"):
        check_input(model, input_shape=(None,))
    with pytest.raises(ValueError, match=r"train\.model\.augment: changes images, and the input is a text"):
        check_text(Model(augment=Augment(shift=0.1), layers=(Embedding(units=2),)), length=3, each_token=False)
