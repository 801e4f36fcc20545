"""Each private name of TensorFlow still is there."""

import pytest
import tensorflow as tf

from headrace.components.compatibility import tensorflow_internals

pytestmark = pytest.mark.slow


def test_the_installed_version_was_tested():
    assert tf.__version__.startswith(tensorflow_internals.TESTED_VERSIONS)


def test_a_strategy_has_the_attribute_that_is_overridden():
    assert hasattr(tf.distribute.get_strategy().extended, tensorflow_internals.USE_MERGE_CALL)


def test_the_coordination_service_can_be_configured():
    assert callable(tensorflow_internals.context.context().configure_coordination_service)
