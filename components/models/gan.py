"""A generative adversarial network: what is trained, of which the generator is what is kept."""

from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from headrace.components.models.layers.any_layer import Layer
from headrace.components.models.layers.basic import Flatten
from headrace.components.models.settings import Gan

Over = Callable[[Sequence[Layer], keras.KerasTensor], keras.KerasTensor]
Noise = Callable[[tf.Tensor], tf.Tensor]  # from int32[], how many

_BEYOND = 1e30  # what no number of a normal distribution reaches


def generator(gan: Gan, *, image_shape: Sequence[int], over: Over, classes: int = 0) -> keras.Model:
    """Return a model from noise float32[batch, gan.noise] to images float32[batch, *image_shape] from 0 to 1.

    `over` applies layers, one after another. With `classes`, the first number of the noise decides on an image's class
    (see `classes_of`), and the layers are given that, too: a model that takes noise alone is served like any other.
    """
    noise = keras.Input((gan.noise,), name="noise")
    with keras.name_scope("generator"):
        given = keras.layers.Concatenate()([noise, classes_of(noise, classes)]) if classes else noise
        tensor = over(gan.generator, given)
        height, width, channels = image_shape
        # float32 whatever the precision of the layers, as every output layer is.
        values = keras.layers.Dense(height * width * channels, "sigmoid", dtype="float32", name="values")(tensor)
        images = keras.layers.Reshape((height, width, channels), dtype="float32", name="images")(values)
    return keras.Model(noise, images, name="core")


def classes_of(noise: Any, classes: int) -> Any:
    """Return float32[batch, classes], 1 for the class that each row's first number says and 0 for the others.

    The k-th class has the k-th of `classes` parts of the standard normal distribution, which are equally likely.
    """
    ends = [NormalDist().inv_cdf(place / classes) for place in range(1, classes)]
    first = noise[:, :1]
    begun, ended = (
        ops.cast(ops.greater_equal(first, ops.convert_to_tensor([bounds], "float32")), "float32")
        for bounds in ([-_BEYOND, *ends], [*ends, _BEYOND])
    )
    return begun - ended


def discriminator(gan: Gan, *, image_shape: Sequence[int], over: Over, classes: int = 0) -> keras.Model:
    """Return a model from images float32[batch, *image_shape] to logits float32[batch, 1], high for a real image.

    With `classes` it also takes float32[batch, classes], and adds to the logit the inner product of a vector of the
    class and what the layers give (a projection; Miyato and Koyama, 2018).
    """
    images = keras.Input(tuple(image_shape), name="images")
    with keras.name_scope("discriminator"):
        tensor = over((*gan.discriminator, Flatten()), images)
        logits = keras.layers.Dense(1, dtype="float32", name="is_real")(tensor)
        if not classes:
            return keras.Model(images, logits, name="discriminator")
        of_class = keras.Input((classes,), name="class")
        vectors = keras.layers.Dense(tensor.shape[-1], use_bias=False, dtype="float32", name="vectors")(of_class)
        projected = keras.layers.Dot(axes=1, dtype="float32", name="projected")([vectors, tensor])
        logits = keras.layers.Add(dtype="float32", name="is_real_and_of_class")([logits, projected])
    return keras.Model([images, of_class], logits, name="discriminator")


class AdversarialNetworks(keras.Model):  # type: ignore[misc]
    """A generator, `core`, and a discriminator, each updated at every step by the gradients of its own loss.

    The discriminator's loss is its cross-entropy over real and over generated images, added up; `label_smoothing` is
    taken from the label 1 of real ones alone (Salimans et al., 2016). The generator's is the cross-entropy of its
    images being taken for real, which does not saturate (Goodfellow et al., 2014, section 3). Both come from the same
    noise and the same weights. One optimizer has all variables: an optimizer updates each by its own gradient, so two
    would do the same, but for `clip_norm`, which is of all gradients together. Of the weights, core's come first.
    """

    def __init__(
        self,
        core: keras.Model,
        other: keras.Model,
        *,
        noise: Noise,
        label_smoothing: float,
        gradient_penalty: float,
        classes: int = 0,
    ) -> None:
        super().__init__(name="adversarial_networks")
        self.core, self.discriminator = core, other
        self._noise, self._label_smoothing, self._gradient_penalty = noise, label_smoothing, gradient_penalty
        self._classes = classes
        self._cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)
        self._network_losses = [keras.metrics.Mean(name=name) for name in ("generator_loss", "discriminator_loss")]
        self.built = True

    def call(self, images: Any, training: bool = False) -> Any:
        """Return the discriminator's logits, float32[batch, 1], of images of no class: Keras builds a model by it."""
        none = ops.zeros((ops.shape(images)[0], self._classes)) if self._classes else None
        return self._logits(images, none, training=training)

    def train_step(self, data: Any) -> dict[str, Any]:
        """Update both networks by a batch of (images, labels int32[batch]): their classes, or nothing."""
        networks = (self.core, self.discriminator)
        with tf.GradientTape() as of_core, tf.GradientTape() as of_discriminator:
            losses = self._losses_of(data[0], data[1])
            scaled = [self.optimizer.scale_loss(loss) for loss in losses]
        gradients = [
            gradient
            for tape, loss, network in zip((of_core, of_discriminator), scaled, networks, strict=True)
            for gradient in tape.gradient(loss, network.trainable_variables)
        ]
        self.optimizer.apply(gradients, self.trainable_variables)
        return self._figures_of(losses, examples=tf.shape(data[0])[0])

    def _losses_of(self, images: tf.Tensor, labels: tf.Tensor) -> list[tf.Tensor]:
        """The generator's loss and the discriminator's, float32[] each: Keras has divided them by the workers."""
        noise = self._noise(tf.shape(images)[0])
        taken = self._logits(
            self.core(noise, training=True), classes_of(noise, self._classes) if self._classes else None
        )
        real, penalty = self._real(images, ops.one_hot(labels, self._classes) if self._classes else None)
        ones, zeros = tf.ones_like(real), tf.zeros_like(taken)
        judged = self._cross_entropy(ones * (1 - self._label_smoothing), real) + self._cross_entropy(zeros, taken)
        losses = {self.core: self._cross_entropy(ones, taken), self.discriminator: judged + penalty}
        return [
            loss + sum(map(self._aggregate_additional_loss, network.losses))  # weight decay by `l2`
            for network, loss in losses.items()
        ]

    def _logits(self, images: tf.Tensor, of_class: tf.Tensor | None, *, training: bool = True) -> tf.Tensor:
        return self.discriminator(images if of_class is None else [images, of_class], training=training)

    def _real(self, images: tf.Tensor, of_class: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor | float]:
        """The logits of real images, float32[batch, 1], and the penalty for their gradients, divided by the workers."""
        if not self._gradient_penalty:
            return self._logits(images, of_class), 0.0
        with tf.GradientTape() as tape:
            tape.watch(images)
            logits = self._logits(images, of_class)
        squares = tf.reduce_mean(tf.reduce_sum(tape.gradient(logits, images) ** 2, axis=(1, 2, 3)))
        workers = tf.distribute.get_strategy().num_replicas_in_sync
        return logits, self._gradient_penalty / 2 * squares / workers

    def _figures_of(self, losses: Sequence[tf.Tensor], *, examples: tf.Tensor) -> dict[str, Any]:
        workers = tf.distribute.get_strategy().num_replicas_in_sync
        values = [sum(losses), *losses]
        for mean, value in zip([self._loss_tracker, *self._network_losses], values, strict=True):
            mean.update_state(value * workers, sample_weight=examples)
        figures: dict[str, Any] = self.get_metrics_result()
        return figures
