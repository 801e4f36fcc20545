"""Splits that DVC has pushed are trained on where they are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.components.errors import ServiceError
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.labels import NumberLabel
from headrace.components.transforms.fitted_table import FittedFeature, FittedTable
from headrace.pipelines.object_store.objects import open_storage
from headrace.pipelines.object_store.published import fetch
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.remote_training.dvc_inputs import pushed_splits
from headrace.pipelines.remote_training.handoff import Handoff, publish_inputs

FITTED = FittedTable(
    features={"a": FittedFeature(feature=NumberFeature(), transforms=(), shape=(1,))},
    label=NumberLabel(name="y"),
    training_examples=1,
)


@pytest.fixture(scope="module")
def pushed(tmp_path_factory) -> Path:
    """A project whose splits were committed and pushed to a folder."""
    root = tmp_path_factory.mktemp("pushed") / "a project"
    paths = PipelinePaths(root, "digits")
    for name, text in {"train/part-00000.parquet": "many rows", "test/part-00000.parquet": "rows"}.items():
        (paths.splits / name).parent.mkdir(parents=True, exist_ok=True)
        (paths.splits / name).write_text(text)
    paths.manifest.write_text('{"digest": "1"}')
    paths.statistics.parent.mkdir(parents=True)
    paths.statistics.write_text(FITTED.model_dump_json())
    (root / "dvc.yaml").write_text(
        "stages:\n  split:\n    matrix:\n      pipeline: [digits]\n    cmd: 'true'\n"
        "    outs:\n    - data/${item.pipeline}/splits\n"
    )
    dvc, home = str(Path(sys.executable).with_name("dvc")), {**os.environ, "HOME": str(root)}
    for command in (
        ["git", "init", "--quiet"],
        [dvc, "init", "--quiet"],
        [dvc, "remote", "add", "--quiet", "--default", "shared", str(root.parent / "remote")],
        [dvc, "commit", "--quiet", "--force"],
        [dvc, "push", "--quiet"],
    ):
        subprocess.run(command, cwd=root, check=True, env=home)
    return root


def handed_over(root: Path, storage: Path) -> Handoff:
    sent = Handoff(
        run_name="digits-0", owner="hand", storage=str(storage), inputs="inputs/1", git_commit="", ray_address=""
    )
    publish_inputs(PipelinePaths(root, "digits"), sent, start_weights=None)
    return sent


def test_pushed_splits_are_not_uploaded_again_and_arrive_whole(pushed, tmp_path):
    storage = pushed.parent / "remote" / "headrace"
    sent = handed_over(pushed, storage)
    assert sorted(path.name for path in storage.rglob("*") if path.is_file()) == ["published.json", "statistics.json"]
    assert fetch(sent.inputs, tmp_path / "there", storage=open_storage(str(storage)))
    assert (tmp_path / "there" / "splits" / "train" / "part-00000.parquet").read_text() == "many rows"
    assert (tmp_path / "there" / "splits" / "manifest.json").read_text() == '{"digest": "1"}'

    [damaged] = [
        one for one in (pushed.parent / "remote" / "files").rglob("*") if one.is_file() and b"many" in one.read_bytes()
    ]
    damaged.chmod(0o644)
    damaged.write_text("few rows")
    with pytest.raises(
        ServiceError, match=r"part-00000.parquet, which is files/md5/.* is not what DVC pushed: .* run `dvc push`"
    ):
        fetch(sent.inputs, tmp_path / "again", storage=open_storage(str(storage)))


@pytest.mark.long
def test_splits_are_uploaded_where_dvc_has_others_or_is_elsewhere(pushed, tmp_path):
    paths, below = PipelinePaths(pushed, "digits"), str(pushed.parent / "remote" / "headrace")
    assert len(pushed_splits(paths, below)) == 3
    assert pushed_splits(paths, str(tmp_path / "another folder")) == {}
    assert pushed_splits(paths, "s3://bucket/headrace") == {}
    before = paths.manifest.read_text()
    paths.manifest.write_text('{"digest": "2"}')
    assert pushed_splits(paths, below) == {}
    paths.manifest.write_text(before)
    listing = next((pushed.parent / "remote").rglob("*.dir"))
    listing.rename(tmp_path / "listing")
    assert pushed_splits(paths, below) == {}
    (tmp_path / "listing").rename(listing)
    handed_over(pushed, tmp_path / "storage")
    assert (tmp_path / "storage" / "inputs" / "1" / "splits" / "train" / "part-00000.parquet").is_file()
