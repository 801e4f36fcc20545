"""What a model may be."""

import pytest
from pydantic import ValidationError

from headrace.components.models.layers.basic import Dense
from headrace.components.models.settings import AlexNet, Gan, LeNet, Model, Vgg
from headrace.components.transforms.augment import Augment


@pytest.mark.parametrize(
    ("given", "found"), [({}, "neither"), ({"layers": (Dense(units=1),), "architecture": LeNet()}, "both")]
)
def test_a_model_is_either_layers_or_an_architecture(given, found):
    with pytest.raises(ValidationError, match=f"give either layers or architecture, found {found}"):
        Model(**given)


def test_the_images_of_a_gan_are_not_augmented():
    gan = Gan(generator=(Dense(units=2),), discriminator=(Dense(units=2),))
    with pytest.raises(ValidationError, match="a generator would learn to make changed images; leave augment out"):
        Model(architecture=gan, augment=Augment(shift=0.1))


def test_a_model_survives_being_written_and_read():
    model = Model(architecture=Vgg(configuration="A-LRN", width=0.5))
    assert Model.model_validate(model.model_dump()) == model


@pytest.mark.parametrize(("width", "filters"), [(1.0, 96), (0.5, 48), (0.125, 12), (0.05, 4), (0.001, 2)])
def test_scaled_layers_can_be_halved_between_two_towers(width, filters):
    assert AlexNet(width=width).scaled(96) == filters
