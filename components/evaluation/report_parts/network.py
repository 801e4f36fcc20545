"""The network as it is: layers, parameters, settings."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from headrace.components.evaluation.report_parts.subject import Subject

_MOST_LAYERS = 60


@dataclass(frozen=True)
class LayerRow:
    """A layer: its name, kind, the shape that it gives, and its parameters."""

    name: str
    kind: str
    shape: str
    parameters: int


@dataclass(frozen=True)
class Network:
    """Layers from raw rows to predictions, and the settings of the training that are not the default."""

    name: ClassVar[str] = "network"
    title: ClassVar[str] = "The network"

    layers: tuple[LayerRow, ...]
    more_layers: int
    parameters: int
    trainable: int
    settings: Mapping[str, str]


def network(subject: Subject, settings: Mapping[str, Any]) -> Network:
    """What the saved model is made of; `settings` are those of its training, nested as in params.yaml."""
    model = subject.measurement.model
    rows = [row for row in _rows(model) if row.kind != "InputLayer"]
    return Network(
        layers=tuple(rows[:_MOST_LAYERS]),
        more_layers=max(0, len(rows) - _MOST_LAYERS),
        parameters=model.count_params(),
        trainable=sum(math.prod(weight.shape) for weight in model.trainable_weights),
        settings=dict(_flat(settings)),
    )


def _rows(model: Any) -> Iterator[LayerRow]:
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _rows(layer)
        else:
            yield LayerRow(layer.name, type(layer).__name__, _shape(layer), layer.count_params() if layer.built else 0)


def _shape(layer: Any) -> str:
    """Shape of an output without the batch, such as 8 x 8 x 32; "" where the layer has none of its own."""
    try:
        shape = layer.output.shape
    except (AttributeError, ValueError):  # never called, or with several outputs
        return ""
    return " x ".join("?" if size is None else str(size) for size in shape[1:]) or "1"


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Settings by dotted place; those of layers are in the table of layers."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif not isinstance(value, list | tuple) or not any(isinstance(one, Mapping) for one in value):
            yield (
                f"{prefix}{name}",
                (", ".join(map(str, value)) or "none") if isinstance(value, list | tuple) else str(value),
            )
