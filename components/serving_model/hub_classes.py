"""Classes of KerasHub in saved models: known to Keras once it is imported, and refused where they read files."""

import importlib
from collections.abc import Iterator
from typing import Any

from headrace.components.own_code.importable_code import HUB_MISSING, HUB_MODULE

_PACKAGES = (HUB_MODULE, "keras_nlp")  # its name until 2024, under which its classes are registered, too


def uses_hub(config: Any) -> bool:
    """Whether a model's configuration names a class or function of KerasHub."""
    return next(_entries(config), None) is not None


def import_hub(config: Any) -> None:
    """Import KerasHub where a model's configuration needs it.

    Raises ValueError where it is not installed. So it does for tokenizers and what holds them: their vocabulary may be
    named by a path, and a model that somebody else made must not read files of this machine.
    """
    entries = list(_entries(config))
    if not entries:
        return
    if (hub := _imported()) is None:
        raise ValueError(f"it {HUB_MISSING}")
    reading = (hub.tokenizers.Tokenizer, hub.models.Preprocessor)
    for entry in entries:
        if any(isinstance(found, type) and issubclass(found, reading) for found in _classes(entry)):
            raise ValueError(f"its {entry['class_name']} of KerasHub could read files of this machine; save a backbone")


def _imported() -> Any | None:
    try:
        return importlib.import_module(HUB_MODULE)
    except ModuleNotFoundError:
        return None


def _entries(config: Any) -> Iterator[dict[str, Any]]:
    """Objects of a configuration that are KerasHub's, by their module or by the name that they are registered under."""
    if isinstance(config, dict):
        places = (str(config.get("module")).partition(".")[0], str(config.get("registered_name")).partition(">")[0])
        if any(place in _PACKAGES for place in places):
            yield config
    for one in config.values() if isinstance(config, dict) else config if isinstance(config, list) else ():
        yield from _entries(one)


def _classes(entry: dict[str, Any]) -> Iterator[Any]:
    """What Keras may take for an object: what is registered under its name, or else what its module has."""
    import keras

    yield keras.saving.get_registered_object(str(entry.get("registered_name")))
    module = str(entry.get("module"))
    if module.partition(".")[0] == HUB_MODULE:
        yield vars(importlib.import_module(module)).get(str(entry.get("class_name")))
