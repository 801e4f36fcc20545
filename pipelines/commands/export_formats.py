"""The forms of a model that `headrace export` writes."""

from enum import StrEnum


class Form(StrEnum):
    """What `--format` may say."""

    SAVED_MODEL = "saved_model"
    TFLITE = "tflite"
