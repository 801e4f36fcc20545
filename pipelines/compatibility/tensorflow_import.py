"""TensorFlow without its greeting, and Keras without what it seldom needs."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from headrace.components.compatibility.keras_import import import_keras
from headrace.pipelines.host.host_problems import require_addresses


def import_tensorflow() -> None:
    """Import TensorFlow and Keras and find the devices, without what TensorFlow writes before a setting can stop it.

    They are shown after all if the import fails, or where TF_CPP_MIN_LOG_LEVEL asks for notes (0).
    """
    require_addresses()
    with quiet():
        import_keras()  # first: TensorFlow imports Keras, too, with all that Keras finds
        import tensorflow as tf

        tf.config.list_logical_devices()


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back what libraries write to standard error while the block lasts; it is shown if the block fails.

    It is shown immediately where TF_CPP_MIN_LOG_LEVEL asks for notes (0).
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "0":
        yield
        return
    sys.stderr.flush()
    standard_error = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except BaseException:
            sys.stderr.flush()
            said.seek(0)
            os.write(standard_error, said.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(standard_error, 2)
            os.close(standard_error)
