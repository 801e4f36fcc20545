"""The training that `headrace.fit` starts: a model of a function on examples that a program gave."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field

from headrace.components.schema.settings import Settings
from headrace.pipelines.ray_train.training_job import Job


def file_of(split: str) -> str:
    """Name of the file that holds the examples of a split."""
    return f"{split}.arrow"


class DataFunction(Settings):
    """A function of a file that returns a `keras.utils.PyDataset` or a `tf.data.Dataset` of global batches."""

    sources: dict[str, str]
    file: str
    function: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class FitJob(Job):
    """The training of the compiled model that `function` of `file` returns.

    Its splits are the examples in the folder `data`, or what `functions` return, by the split's name.
    """

    data: Path
    file: str
    function: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    callbacks: str | None = None
    jit_compile: bool = False
    functions: dict[str, DataFunction] = Field(default_factory=dict)
    shuffle: bool = True

    def with_inputs(self, folder: Path, sizes: Mapping[str, int]) -> Self:  # noqa: ARG002 - they are few
        """The job with its inputs where `folder` holds what was published under the key `inputs`."""
        return self.model_copy(update={"data": folder})
