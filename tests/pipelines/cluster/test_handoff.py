import pytest

from headrace.components.errors import ParamsError
from headrace.pipelines.cluster import handoff
from headrace.pipelines.cluster.handoff import Handoff, read_handoff
from headrace.pipelines.paths import ProjectPaths


@pytest.mark.parametrize(("python", "is_refused"), [("3.9", True), (handoff._python(), False), ("", False)])
def test_a_job_on_a_cluster_of_another_python_ends_before_any_work(tmp_path, monkeypatch, python, is_refused):
    monkeypatch.setenv(handoff.JOB_VARIABLE, "{}")
    told = {
        "run_name": "digits-0",
        "owner": "hand",
        "storage": "/s",
        "inputs": "i",
        "git_commit": "",
        "ray_address": "",
    }
    shipped = Handoff(**told, python=python)
    ProjectPaths(tmp_path).handoff.parent.mkdir()
    ProjectPaths(tmp_path).handoff.write_text(shipped.model_dump_json())
    if not is_refused:
        assert read_handoff(tmp_path) == shipped
        return
    with pytest.raises(ParamsError, match=r"submitted from Python 3\.9, and the cluster has Python"):
        read_handoff(tmp_path)
