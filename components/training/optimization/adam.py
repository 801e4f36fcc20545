"""Adam in one pass over the weights."""

from typing import Any

import keras
import tensorflow as tf


class FusedAdam(keras.optimizers.Adam):
    """Keras's Adam, with the same variables and the same results but for rounding, in TensorFlow's one operation.

    Keras writes Adam as fourteen operations, each of which reads and writes as many numbers as there are weights.
    """

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: Any, learning_rate: tf.Tensor) -> None:
        """Update `variable` and its two moments by its gradient (Kingma and Ba, 2015, section 2's last form).

        A sparse gradient is left to Keras: of an id that occurs several times it squares each row before it adds them.
        """
        if isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable, learning_rate)
            return
        place = self._get_variable_index(variable)
        step = tf.cast(self.iterations + 1, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[place].handle,
            v=self._velocities[place].handle,
            beta1_power=tf.pow(tf.cast(self.beta_1, variable.dtype), step),
            beta2_power=tf.pow(tf.cast(self.beta_2, variable.dtype), step),
            lr=tf.cast(learning_rate, variable.dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, variable.dtype),
        )
