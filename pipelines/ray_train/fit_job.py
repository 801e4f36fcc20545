"""The training that `headrace.fit` starts: a model of a function on examples that a program gave."""

from pathlib import Path
from typing import Any, Self

from pydantic import Field

from headrace.pipelines.ray_train.training_job import Job


def file_of(split: str) -> str:
    """Name of the file that holds the examples of a split."""
    return f"{split}.arrow"


class FitJob(Job):
    """The training of the compiled model that `function` of `file` returns, on the examples in the folder `data`."""

    data: Path
    file: str
    function: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    callbacks: str | None = None
    jit_compile: bool = False

    @property
    def train_examples(self) -> Path:
        """The training examples, as `write_given` writes them."""
        return self.data / file_of("train")

    @property
    def validation_examples(self) -> Path:
        """The validation examples; the file is not there where there are none."""
        return self.data / file_of("validation")

    def with_inputs(self, folder: Path) -> Self:
        """The job with its inputs where `folder` holds what was published under the key `inputs`."""
        return self.model_copy(update={"data": folder})
