"""The benchmark of the main job starts: it measures a project that is a copy of this repository."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def main_job() -> ModuleType:
    specification = importlib.util.spec_from_file_location("main_job", ROOT / "bench" / "main_job.py")
    if specification is None or specification.loader is None:
        raise FileNotFoundError("bench/main_job.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs git to know which files are the repository's")
def test_its_project_has_the_links_of_the_package_and_lists_its_pipelines(main_job: ModuleType, tmp_path: Path) -> None:
    project = main_job.new_project(tmp_path / "project")
    assert (project / "headrace" / "components").is_symlink()
    listed = subprocess.run(
        [main_job.program("headrace"), "list"], cwd=project, capture_output=True, text=True, check=True
    )
    assert "digits" in listed.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's prctl, by which orphans are adopted")
def test_processor_time_of_what_a_command_leaves_running_is_counted(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.5: pass"
    leave = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {burn!r}], start_new_session=True)"
    program = f"""
import importlib.util, pathlib, sys
specification = importlib.util.spec_from_file_location("main_job", {str(ROOT / "bench" / "main_job.py")!r})
module = importlib.util.module_from_spec(specification)
sys.modules["main_job"] = module
specification.loader.exec_module(module)
module.adopt_orphans()
print(module.timed([sys.executable, "-c", {leave!r}], pathlib.Path.cwd()).processor_seconds)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert float(ran.stdout) >= 0.5
