import polars as pl
import pytest

from pipelines.storage.disk import disk_problem

FULL = "parquet: File out of specification: underlying IO error: No space left on device (os error 28)"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied", "data/digits"), "Permission denied: data/digits"),
        (OSError(28, "Error writing bytes to file"), "No space left on device"),  # pyarrow's has no file name
        (pl.exceptions.ComputeError(FULL), "No space left on device"),
    ],
)
def test_a_full_or_forbidden_disk_is_said_in_one_line(error, said):
    problem = disk_problem(error)
    assert said in problem
    assert "headrace doctor" in problem
    assert "\n" not in problem


@pytest.mark.parametrize(
    "error",
    [
        ValueError(),
        KeyError("a"),
        FileNotFoundError(2, "No such file or directory", "a"),
        pl.exceptions.ComputeError("No such file or directory (os error 2)"),
    ],
)
def test_another_error_is_none_of_the_disk(error):
    assert disk_problem(error) is None
