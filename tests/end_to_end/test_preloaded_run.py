"""A run whose stages are forked writes the same bytes as one whose stages are processes of their own."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from headrace.pipelines.project.preloading import VARIABLE

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

# Not those that hold times, ids of runs, or names of hosts and processes.
SAME = (
    "data/digits/normalized",
    "data/digits/splits",
    "models/digits/model.keras",
    "reports/digits/metrics.json",
    "reports/digits/outcomes.parquet",
    "reports/digits/plots",
)


def test_the_outputs_are_equal(tmp_path: Path, copy_repository: Callable[[Path], Path], headrace: Callable[..., str]):
    digests = []
    for number, setting in enumerate(("0", "1")):
        root = copy_repository(tmp_path / f"project {number}")
        params = yaml.safe_load((root / "params.yaml").read_text())
        params["digits"]["train"]["epochs"] = 2
        (root / "params.yaml").write_text(yaml.safe_dump(params))
        output = headrace(root, "run", "digits", **{VARIABLE: setting, "HEADRACE_LOG_LEVEL": "debug"})
        forked = [line.partition("|")[0].strip() for line in output.splitlines() if "forked from the process" in line]
        assert set(forked) - {"train"} == ({"evaluate", "register"} if setting == "1" else set()), output
        digests.append(outputs(root))
    assert digests[0] == digests[1]


def outputs(root: Path) -> dict[str, str]:
    """DVC's digest of each output that is the same in every run."""
    stages = yaml.safe_load((root / "dvc.lock").read_text())["stages"].values()
    found = {one["path"]: one["md5"] for stage in stages for one in stage["outs"] if one["path"] in SAME}
    assert sorted(found) == sorted(SAME)
    return found
