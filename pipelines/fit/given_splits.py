"""What a program gives as its splits: examples in memory, or a function that makes global batches."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import JsonValue, TypeAdapter, ValidationError

from headrace.components.errors import DataError, ParamsError
from headrace.components.own_code.given_function import given_function
from headrace.components.own_code.importable_code import OwnCode
from headrace.components.own_code.signature import checked_arguments, require_function
from headrace.components.training.batches import Windows
from headrace.components.training.feeding.given_data import (
    given_columns,
    given_digest,
    require_known_position,
    write_given,
)
from headrace.components.training.feeding.given_parquet import GivenParquet
from headrace.components.training.feeding.split_arrays import Columns
from headrace.components.training.plan import LARGEST_GLOBAL_BATCH, Plan
from headrace.pipelines.ray_train.fit_data import split_of, splits_of
from headrace.pipelines.ray_train.fit_job import DataFunction, FitJob, file_of
from headrace.pipelines.ray_train.fit_worker import some_examples
from headrace.pipelines.remote_training.provenance import identity_digest

GivenSplit = Columns | GivenParquet | DataFunction


def given_splits(
    given: Mapping[str, Any], *, label: str | None, weight: str | None, window_examples: int | None
) -> dict[str, GivenSplit]:
    """The splits that a program gives by their names, without those that are None.

    With `window_examples`, Parquet files are not read into memory. Raises ParamsError or DataError for what no training
    can be continued from.
    """

    def split(name: str, data: Any) -> GivenSplit:
        if callable(data):
            return data_function(data, name=name)
        if window_examples is not None and isinstance(data, str | Path):
            return GivenParquet.at(Path(data), label=label, weight=weight, name=name)
        return given_columns(data, label=label, weight=weight, name=name)

    return {name: split(name, data) for name, data in given.items() if data is not None}


def data_function(function: Callable[..., Any], *, name: str) -> DataFunction:
    """A function at the top of a file, or a `functools.partial` of one with arguments by keyword.

    Raises ParamsError for what workers can't import and for arguments that it does not take, DataError for a generator.
    """
    arguments: dict[str, Any] = {}
    if isinstance(function, partial):
        if function.args:
            raise ParamsError(
                f"{name}: expected the arguments of functools.partial by keyword, found {function.args!r:.80}"
            )
        arguments, function = function.keywords, function.func
    if inspect.isgeneratorfunction(function):
        raise DataError(
            f"{name}: {function.__name__} is a generator, whose next batch can't be found again after a crash; give a "
            "function that returns a keras.utils.PyDataset, which gives each batch by its index, or a tf.data.Dataset"
        )
    place = given_function(function, called=name)
    require_json(arguments, called=f"{name}: argument")
    code = OwnCode.of(place.root, [place.file])
    require_function(code.sources, place.file, place.name, given=(), arguments=list(arguments))
    checked_arguments(function, arguments, given=0, place=f"{place.file}: {place.name}")
    return DataFunction(sources=code.sources, file=place.file, function=place.name, arguments=arguments)


def require_json(arguments: Mapping[str, JsonValue], *, called: str) -> None:
    """Raise ParamsError for arguments that no identity can name."""
    try:
        TypeAdapter(dict[str, JsonValue]).validate_python(dict(arguments))
    except ValidationError as error:
        first = error.errors()[0]
        raise ParamsError(
            f"{called}[{first['loc'][0]!r}]: expected a number, a text, or a list or dict of such, found "
            f"{type(first['input']).__name__}"
        ) from error


def batch_size(given: int | None, *, window_examples: int | None = None, **splits: Any) -> int:
    """The size of global batches, which examples need, and batches that are given as they are have themselves.

    For the latter it is the largest that a plan may have. Raises ParamsError where it is missing or has no meaning.
    """
    of_examples = [name for name, data in splits.items() if data is not None and not callable(data)]
    for name in of_examples:
        require_known_position(splits[name], name)
    if of_examples and given is None:
        raise ParamsError(f"{of_examples[0]}: examples need global_batch_size=, the number of those in a step")
    if not of_examples and window_examples is not None:
        raise ParamsError("window_examples= is for Parquet files and tables; a dataset shuffles itself: leave it out")
    if not of_examples and given is not None:
        raise ParamsError(
            f"global_batch_size is {given}, and the batches of the dataset are the global batches; leave it out"
        )
    return LARGEST_GLOBAL_BATCH if given is None else given


def split_digest(split: GivenSplit) -> str:
    """SHA-256 of the examples or their files, or of the function's code and arguments, in hexadecimal digits."""
    match split:
        case Columns():
            return given_digest(split)
        case GivenParquet():
            return split.digest
        case DataFunction():
            code = OwnCode(split.sources).digests
            return identity_digest({"code": code, **split.model_dump(mode="json", exclude={"sources"})})


def write_splits(splits: Mapping[str, GivenSplit], folder: Path, *, plan: Plan) -> None:
    """Write the examples where `split_of` reads them; Parquet files as blocks, one at a time in memory."""
    for name, split in splits.items():
        match split:
            case Columns():
                write_given(split, folder / file_of(name))
            case GivenParquet():
                (folder / name).mkdir(parents=True)
                windows = Windows(1, plan.global_batch_size, plan.window_examples)
                split.write(folder / name, block_examples=windows.block_examples)
            case DataFunction():
                pass  # which workers call


def open_here(job: FitJob, splits: Mapping[str, GivenSplit]) -> dict[str, Any]:
    """The splits as this process alone trains on them, with blocks of Parquet files of its own in `job.data`."""
    blocks = {name: split for name, split in splits.items() if isinstance(split, GivenParquet)}
    write_splits(blocks, job.data, plan=job.train)
    return {name: split if isinstance(split, Columns) else split_of(job, name) for name, split in splits.items()}


def few_examples(job: FitJob, split: GivenSplit) -> Columns:
    """Some examples of a split, in the form that the model takes."""
    match split:
        case Columns():
            return split
        case GivenParquet():
            return split.first_examples(2)
        case DataFunction():
            return some_examples(job, splits_of(job)[0])


def functions_of(splits: Mapping[str, GivenSplit]) -> dict[str, DataFunction]:
    """Those of the splits that functions make."""
    return {name: split for name, split in splits.items() if isinstance(split, DataFunction)}
