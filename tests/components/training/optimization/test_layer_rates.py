"""Rates of single layers: each layer is updated as by an optimizer of its own with that rate."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from pydantic import ValidationError

from headrace.components.errors import ParamsError
from headrace.components.training.optimization.layer_rates import require_layers, set_layer_rates
from headrace.components.training.optimization.optimizers import build_optimizer
from headrace.components.training.settings import LayerRate, Training

OPTIMIZERS = [
    {"kind": "sgd", "momentum": 0.9, "weight_decay": 0.1},
    {"kind": "adam"},
    {"kind": "adam", "gradient_accumulation_steps": 2, "weight_decay": 0.1},
    {"kind": "adamw"},
    {"kind": "rmsprop", "momentum": 0.5},
    {"kind": "adagrad"},
    {"kind": "lion", "weight_decay": 0.1, "ema_momentum": 0.9},
]
SLOW = [LayerRate(layers="encoder", factor=0.1)]


def training(optimizer, **rates) -> Training:
    layers = [{"kind": "dense", "units": 3, "name": "encoder"}, {"kind": "dense", "units": 2}]
    return Training.model_validate(
        {
            "model": {"layers": layers},
            "optimizer": {"learning_rate": 0.01, **optimizer, **rates},
            "global_batch_size": 8,
            "epochs": 1,
        }
    )


def model() -> keras.Model:
    encoder = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="inner")], name="encoder")
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(encoder(inputs)))


def built(settings, *, learning_rate=0.01):
    optimizer = training({**settings, "learning_rate": learning_rate}).optimizer
    assert optimizer is not None
    return build_optimizer(optimizer, steps_per_epoch=10, epochs=1)


def updated(optimizer, variables, *, steps=5):
    generator = np.random.default_rng(0)
    apply = tf.function(lambda *gradients: optimizer.apply(list(gradients), variables))
    for _ in range(steps):
        apply(*(tf.constant(generator.normal(size=one.shape).astype(np.float32)) for one in variables))
    return [one.numpy() for one in variables]


@pytest.mark.parametrize("settings", OPTIMIZERS, ids=str)
def test_each_layer_is_updated_as_with_its_own_rate(settings):
    start = model().get_weights()

    def after(optimizer, rates=()):
        trained = model()
        trained.set_weights(start)
        set_layer_rates(optimizer, trained, rates, place="rates")
        return updated(optimizer, trained.trainable_variables)

    slow, fast = (after(built(settings, learning_rate=rate)) for rate in (0.001, 0.01))
    mixed = after(built(settings), SLOW)
    for found, expected in zip(mixed, [*slow[:2], *fast[2:]], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert not np.allclose(slow[0], fast[0], rtol=1e-3)


@pytest.mark.parametrize("pattern", ["encoder", "encoder/inner", "inner", "enc*", "encoder/*"])
def test_a_layer_is_found_by_its_name_and_by_those_around_it(pattern):
    trained, optimizer = model(), built({"kind": "sgd"})
    before = trained.get_weights()
    set_layer_rates(optimizer, trained, [LayerRate(layers=pattern, factor=1e-3)], place="rates")
    moved = [np.abs(new - old).max() for new, old in zip(updated(optimizer, trained.weights), before, strict=True)]
    assert max(moved[:2]) < 1e-3 < min(moved[2:])


def test_clipping_is_by_the_norm_of_all_gradients():
    trained, optimizer = model(), built({"kind": "sgd", "clip_norm": 1.0, "learning_rate": 1.0}, learning_rate=1.0)
    before = trained.get_weights()
    set_layer_rates(optimizer, trained, SLOW, place="rates")
    moved = [new - old for new, old in zip(updated(optimizer, trained.weights, steps=1), before, strict=True)]
    moved = [10 * one for one in moved[:2]] + moved[2:]
    assert np.sqrt(sum((one**2).sum() for one in moved)) == pytest.approx(1.0, rel=1e-4)


def test_the_first_pattern_counts():
    trained, optimizer = model(), built({"kind": "sgd"})
    before = trained.get_weights()
    rates = [LayerRate(layers="inner", factor=1.0), LayerRate(layers="*", factor=1e-3)]
    set_layer_rates(optimizer, trained, rates, place="rates")
    moved = [np.abs(new - old).max() for new, old in zip(updated(optimizer, trained.weights), before, strict=True)]
    assert max(moved) < 1e-3, "a pattern of what is around a layer counts before those of the layer"


def test_a_pattern_of_no_layer_is_refused_with_the_nearest_name():
    with pytest.raises(ParamsError, match=r"rates.0.layers: no layer 'encodr'; did you mean 'encoder'"):
        set_layer_rates(built({"kind": "adam"}), model(), [LayerRate(layers="encodr", factor=2.0)], place="rates")


def backbone(*, frozen: bool = False) -> keras.Model:
    """A network of keras.applications within a model, as fine-tuning has it."""
    network = keras.applications.MobileNetV2(
        input_shape=(32, 32, 3), alpha=0.35, include_top=False, weights=None, pooling="avg", name="network"
    )
    network.trainable = not frozen
    inputs = keras.Input((32, 32, 3))
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(network(inputs)))


def test_layers_of_a_nested_network_are_named_alone_or_with_it():
    trained, optimizer = backbone(), built({"kind": "sgd"})
    rates = [LayerRate(layers="block_1*_expand", factor=1e-3), LayerRate(layers="network/Conv1", factor=1e-2)]
    before = {weight.path: weight.numpy() for weight in trained.trainable_variables}
    set_layer_rates(optimizer, trained, [*rates, LayerRate(layers="network/*", factor=0.1)], place="rates")
    updated(optimizer, trained.trainable_variables, steps=1)
    moved = {weight.path: np.abs(weight.numpy() - before[weight.path]).max() for weight in trained.trainable_variables}
    most = {
        name: max(value for path, value in moved.items() if name in path)
        for name in ("block_12_expand/", "Conv1/", "Conv_1/", "head/")
    }
    assert most["block_12_expand/"] < most["Conv1/"] < most["Conv_1/"] < most["head/"]


def test_a_frozen_layer_has_a_name_and_stays_as_it_is():
    trained, optimizer = backbone(frozen=True), built({"kind": "adamw"})
    before = trained.get_weights()
    set_layer_rates(optimizer, trained, [LayerRate(layers="network", factor=0.1)], place="rates")
    updated(optimizer, trained.trainable_variables)
    changed = [not np.array_equal(old, new) for old, new in zip(before, trained.get_weights(), strict=True)]
    assert changed == [False] * (len(before) - 2) + [True, True]


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("netwrk", r"did you mean 'network'\?$"),
        ("blok_12_expand", r"did you mean 'block_12_expand'\?$"),
        ("encoder/*", r"no layer 'encoder/\*'; valid names: head, input_layer\S*, network$"),
    ],
)
def test_of_many_layers_the_nearest_is_named_or_the_outermost(pattern, said):
    with pytest.raises(ParamsError, match=said):
        require_layers(backbone(), [LayerRate(layers=pattern, factor=2.0)], place="rates")


def test_names_of_layers_in_params_are_checked_before_any_work():
    assert training({"kind": "adam"}, rates=[{"layers": "enc*", "factor": 0.1}, {"layers": "output", "factor": 2.0}])
    with pytest.raises(ValidationError, match=r"rates.0.layers: no layer is called 'head'; names are encoder, output"):
        training({"kind": "adam"}, rates=[{"layers": "head", "factor": 0.1}])
