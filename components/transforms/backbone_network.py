"""Networks that were trained on ImageNet, by name: the frozen part of a model that is trained on what they see."""

import math
import tempfile
import warnings
from collections.abc import Callable

import keras

from headrace.components.errors import DataError
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.transforms.backbone import BackboneFeatures, BackboneName, FittedBackbone

_NETWORKS: dict[BackboneName, Callable[..., keras.Model]] = {
    "inception_v3": keras.applications.InceptionV3,
    "mobilenet": keras.applications.MobileNet,
    "mobilenet_v2": keras.applications.MobileNetV2,
    "mobilenet_v3_small": keras.applications.MobileNetV3Small,
    "mobilenet_v3_large": keras.applications.MobileNetV3Large,
    "nasnet_mobile": keras.applications.NASNetMobile,
    "nasnet_large": keras.applications.NASNetLarge,
    "efficientnet_b0": keras.applications.EfficientNetB0,
    "efficientnet_b1": keras.applications.EfficientNetB1,
    "efficientnet_b2": keras.applications.EfficientNetB2,
    "efficientnet_b3": keras.applications.EfficientNetB3,
    "efficientnet_b4": keras.applications.EfficientNetB4,
    "efficientnet_b5": keras.applications.EfficientNetB5,
    "efficientnet_b6": keras.applications.EfficientNetB6,
    "efficientnet_b7": keras.applications.EfficientNetB7,
}
_POOLING: dict[str, Callable[[], keras.layers.Layer]] = {
    "average": keras.layers.GlobalAveragePooling2D,
    "max": keras.layers.GlobalMaxPooling2D,
    "flatten": keras.layers.Flatten,
}
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's red, green and blue


def feature_width(backbone: BackboneFeatures, feature: ImageFeature, *, weights: bytes) -> int:
    """Number of features of an image; `weights` is the content of an HDF5 file.

    Raises DataError where the weights are not this network's, or a layer's name is none of its.
    """
    return int(_features(backbone, feature, weights)(keras.Input(feature.shape)).shape[-1])


def backbone_model(backbone: FittedBackbone, feature: ImageFeature, *, weights: bytes) -> keras.Model:
    """Return the network from raw pixels, float32[batch, height, width, 3], to features, float32[batch, width].

    It is made of stock layers, and nothing in it is trained.
    """
    pixels = keras.Input(feature.shape)
    features = _features(backbone, feature, weights)
    scale, offset = scaling(backbone.name, maximum=feature.maximum)
    scaled = keras.layers.Rescaling(scale, offset)(pixels)
    outputs = features(scaled)
    if backbone.mirrored:
        outputs = keras.layers.Average()([outputs, features(keras.ops.flip(scaled, axis=2))])
    model = keras.Model(pixels, outputs, name="backbone")
    model.trainable = False
    return model


def scaling(name: BackboneName, *, maximum: int = 255) -> tuple[float | list[float], float | list[float]]:
    """Return by what pixels, 0 to `maximum`, are multiplied, and what is added, to be what the network was trained on.

    That is -1 to 1, which a MobileNetV3 makes of 0 to 255 itself. So does EfficientNet, by mean and deviation; but its
    published weights divide by the root of the deviation only. Keras puts the other root behind them, as it loads them
    by the name "imagenet" (keras/src/applications/efficientnet.py); here it is put before them.
    """
    if name.startswith("mobilenet_v3"):
        return 255 / maximum, 0.0
    if name.startswith("efficientnet"):
        scale = [255 / maximum / math.sqrt(deviation) for deviation in _DEVIATION]
        offset = [255 * mean * (1 - 1 / math.sqrt(one)) for mean, one in zip(_MEAN, _DEVIATION, strict=True)]
        return scale, offset
    return 2 / maximum, -1.0


def named_network(
    name: BackboneName, *, alpha: float, shape: tuple[int, int, int], weights: bytes, with_top: bool
) -> keras.Model:
    """Return a network that takes pixels as `scaling` makes them, with the content of an HDF5 file as its weights.

    Raises DataError where they are not this network's.
    """
    width = {"alpha": alpha} if name.startswith("mobilenet") else {}
    network = _NETWORKS[name](include_top=with_top, weights=None, input_shape=shape, **width)
    _load_weights(network, weights, name=name)
    return network


def _features(backbone: BackboneFeatures, feature: ImageFeature, weights: bytes) -> keras.Model:
    """From scaled pixels to float32[batch, width]."""
    network = named_network(backbone.name, alpha=backbone.alpha, shape=feature.shape, weights=weights, with_top=False)
    ends = [_layer(network, name).output for name in backbone.layers] or [network.output]
    pooled = [_POOLING[pooling]()(end) for end in ends for pooling in backbone.pooling]
    return keras.Model(network.input, pooled[0] if len(pooled) == 1 else keras.layers.Concatenate()(pooled))


def _load_weights(network: keras.Model, weights: bytes, *, name: str) -> None:
    # Keras distinguishes its own format, which has one group of layers, from the older one by a file's name.
    suffix = ".weights.h5" if b"layer_names" not in weights else ".h5"
    with tempfile.NamedTemporaryFile(suffix=suffix) as file:
        file.write(weights)
        file.flush()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # Keras continues with what it has drawn at random
                network.load_weights(file.name)
        except (ValueError, KeyError, OSError, UserWarning) as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise DataError(
                f"these are not the weights of {name} as params.yaml has it: {reason[0]}; give the file of this "
                "network, of its alpha, with or without its top as requested"
            ) from error


def _layer(network: keras.Model, name: str) -> keras.layers.Layer:
    names = [layer.name for layer in network.layers]
    if name not in names:
        shown = ", ".join(names[-30:])
        raise DataError(f"backbone: {network.name} has no layer {name!r}; its last ones are: {shown}")
    return network.get_layer(name)
