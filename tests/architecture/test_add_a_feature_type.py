"""The feature type of CONTRIBUTING.md: without its file and its line all else works, so nothing else knows it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FILE = "components/schema/feature_types/vector_feature.py"


@pytest.fixture
def diff(repository: Path) -> str:
    page = (repository / "CONTRIBUTING.md").read_text(encoding="utf-8")
    [found] = re.findall(r"^## Add a feature type\n.*?^```diff\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return str(found)


def test_its_name_stands_in_its_file_and_in_the_list_alone(repository: Path) -> None:
    files = [file for package in ("components", "pipelines", "dags") for file in (repository / package).rglob("*.py")]
    known = [str(file.relative_to(repository)) for file in files if "VectorFeature" in file.read_text("utf-8")]
    assert sorted(known) == [FILE, "components/schema/features.py"]


def test_all_pipelines_are_read_where_it_is_not(diff: str, copy_repository, tmp_path: Path) -> None:
    root = copy_repository(tmp_path / "project")
    subprocess.run(["git", "apply", "--reverse", "-"], input=diff, cwd=root, text=True, check=True)
    (root / FILE).unlink()
    code = "\n".join(
        (
            "from pathlib import Path",
            "import headrace, yaml",
            "from headrace.pipelines.params import load_pipeline",
            "from headrace.components.schema.features import FEATURE_TYPES",
            "assert Path(headrace.__file__).is_relative_to(Path.cwd()), headrace.__file__",
            "names = yaml.safe_load(Path('params.yaml').read_text())['pipelines']",
            "print(len([load_pipeline(Path('params.yaml'), name) for name in names]) == len(names))",
            "print(*(one.name() for one in FEATURE_TYPES))",
        )
    )
    (root / "read_all.py").write_text(code, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(root)}
    ended = subprocess.run(
        [sys.executable, "-m", "read_all"], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.stdout.splitlines() == ["True", "image number category text"], ended.stderr
