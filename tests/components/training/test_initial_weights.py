"""Initial weights from an earlier training."""

import keras
import numpy as np
import pytest

from headrace.components.errors import TrainingError
from headrace.components.models.build import build, build_networks
from headrace.components.models.heads import WithAuxiliaryHeads
from headrace.components.models.output import Output
from headrace.components.models.settings import Gan, Model
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.labels import CategoryLabel
from headrace.components.tasks.variants import task_of
from headrace.components.training import checkpoints
from headrace.components.training.checkpoints import Checkpoint
from headrace.components.training.initial_weights import read_start_weights, set_start_weights
from headrace.components.training.state import TrainingState
from headrace.components.transforms.fitted_table import FittedFeature, FittedTable

LABEL = CategoryLabel(name="kind", classes=("a", "b", "c"))


def core(units: int = 4) -> keras.Model:
    layers = [{"kind": "dense", "units": units}, {"kind": "batch_normalization"}]
    return build(Model.model_validate({"layers": layers}), input_shape=(1,), output=Output(3))


def assert_equal(found, wanted) -> None:
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_weights_of_a_saved_model_are_those_that_were_trained(tmp_path):
    trained = core()
    fitted = FittedTable(
        features={"x": FittedFeature(feature=NumberFeature(), transforms=(), shape=(1,))},
        label=LABEL,
        label_transform=None,
        training_examples=1,
    )
    task_of(LABEL).saved_model(trained, fitted).save(tmp_path / "model.keras")
    other = core()
    set_start_weights(other, read_start_weights(tmp_path / "model.keras"))
    assert_equal(other.get_weights(), trained.get_weights())


def test_the_weights_of_a_checkpoint_are_its_best(tmp_path):
    best = core().get_weights()
    whole = Checkpoint(TrainingState(seed=1), weights=core().get_weights(), best_weights=best, optimizer=[])
    assert_equal(read_start_weights(checkpoints.save(tmp_path / "checkpoint", whole)), best)


def test_a_model_with_auxiliary_heads_begins_with_a_saved_one_that_has_none():
    core = build(Model(layers=()), input_shape=(2,), output=Output(3))
    heads = keras.Model(core.input, [core.output, keras.layers.Dense(3)(core.input)])
    with_heads = WithAuxiliaryHeads(core, heads)
    head = with_heads.get_weights()[2:]
    saved = [np.full((2, 3), 0.5), np.full(3, 0.25)]
    set_start_weights(with_heads, saved)
    assert_equal(with_heads.get_weights(), [*saved, *head])


def test_a_damaged_checkpoint_is_refused(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    with pytest.raises(TrainingError, match=r"train\.start_from: no whole checkpoint"):
        read_start_weights(tmp_path / "checkpoint")


def test_weights_of_another_shape_are_refused_with_the_first_that_differs():
    with pytest.raises(TrainingError, match=r"dense\w*/kernel has shape \(1, 4\), in the model to start from \(1, 5\)"):
        set_start_weights(core(4), core(5).get_weights())


def test_another_number_of_weights_is_refused():
    with pytest.raises(TrainingError, match="the model has 8 weights, the one to start from 6"):
        set_start_weights(core(), core().get_weights()[:-2])


def test_two_networks_begin_with_a_saved_generator_and_keep_their_discriminator():
    dense = {"kind": "dense", "units": 2}
    gan = Gan.model_validate({"kind": "gan", "noise": 3, "generator": [dense], "discriminator": [dense]})
    networks = build_networks(
        gan,
        image_shape=(1, 1, 1),
        classes=0,
        dropout=keras.layers.Dropout,
        drop_connect=keras.layers.Dense,
        noise=list,
    )
    of_discriminator = networks.discriminator.get_weights()
    saved = [np.full(weight.shape, 0.5) for weight in networks.core.weights]
    set_start_weights(networks, saved)
    assert_equal(networks.get_weights(), [*saved, *of_discriminator])
