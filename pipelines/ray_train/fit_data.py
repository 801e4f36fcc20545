"""The splits of a training of `headrace.fit`, as a worker trains on them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from headrace.components.errors import TrainingError
from headrace.components.own_code.importable_code import OwnCode
from headrace.components.own_code.signature import checked_arguments
from headrace.pipelines.ray_train.fit_job import DataFunction, FitJob, file_of

if TYPE_CHECKING:
    from headrace.components.training.feeding.batch_source import Split
    from headrace.components.training.feeding.given_batches import GivenBatches


def splits_of(job: FitJob) -> "tuple[Split, Split | None]":
    """Training and validation, of which there may be none; raises TrainingError where this node has no examples."""
    train = split_of(job, "train")
    if train is None:
        raise TrainingError(
            f"{job.data} has no examples on this node: workers on several machines need a folder that all of them "
            "share, or HEADRACE_STORAGE"
        )
    return train, split_of(job, "validation")


def split_of(job: FitJob, name: str) -> "Split | None":
    """A split of the job's data, in memory or in blocks on disk, or of its functions; None where it has none."""
    from headrace.components.training.feeding.given_data import read_given
    from headrace.components.training.feeding.given_parquet import open_given

    if name in job.functions:
        function = job.functions[name]
        return given_batches(job, made_by(function), name, code=OwnCode(function.sources))
    file, folder = job.data / file_of(name), job.data / name
    if file.is_file():
        return read_given(file)
    return open_given(folder) if folder.is_dir() else None


def given_batches(job: FitJob, make: Callable[[], Any], name: str, *, code: OwnCode | None = None) -> "GivenBatches":
    """A split of global batches that `make` returns; Keras shuffles those of a training alone."""
    from headrace.components.own_code.importable_code import NO_CODE
    from headrace.components.training.feeding.given_batches import GivenBatches

    is_train = name == "train"
    return GivenBatches(
        make,
        seed=job.train.seed,
        name=name,
        shuffle=job.shuffle and is_train,
        steps_per_epoch=job.train.steps_per_epoch if is_train else None,
        code=code or NO_CODE,
    )


def made_by(function: DataFunction) -> Callable[[], Any]:
    """What calls the function with its arguments, checked against its annotations."""
    code = OwnCode(function.sources)

    def make() -> Any:
        with code.importable():
            called = code.function(function.file, function.function)
            place = f"{function.file}: {function.function}"
            return called(**checked_arguments(called, function.arguments, given=0, place=place))

    return make
