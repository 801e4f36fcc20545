"""Every pipeline of the repository, from its real data to a registered champion, by the command that users type."""

import json

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# pipeline, metric, bound: what docs/pipelines.md says. test_small_systems.py trains what is long here too, but shorter.
TARGETS = [
    ("digits", "accuracy", 0.96),
    pytest.param("mnist", "accuracy", 0.985, marks=pytest.mark.long),
    pytest.param("titanic", "accuracy", 0.78, marks=pytest.mark.long),
    pytest.param("takeoff", "root_mean_squared_error", -20.0, marks=pytest.mark.long),
    pytest.param("flowers", "accuracy", 0.82, marks=pytest.mark.long),
    pytest.param("linear", "loss", -1.0505, marks=pytest.mark.long),
    pytest.param("hello_rnn", "accuracy", 1.0, marks=pytest.mark.long),
]


@pytest.mark.parametrize(("pipeline", "metric", "bound"), TARGETS)
def test_a_pipeline_reaches_its_target_and_a_second_run_does_nothing(request, headrace, pipeline, metric, bound):
    needs_files = pipeline not in ("digits", "linear")
    mirror = {"HEADRACE_MIRROR": str(request.getfixturevalue("shared_data"))} if needs_files else {}
    if pipeline == "digits":
        run = request.getfixturevalue("digits")  # the one that test_doors.py has watched
        project, output = run.root, run.output
    else:
        project = request.getfixturevalue("project")
        output = headrace(project, "run", pipeline, **mirror)
    metrics = json.loads((project / "reports" / pipeline / "metrics.json").read_text(encoding="utf-8"))
    assert metrics[metric] >= bound if bound > 0 else metrics[metric] <= -bound
    registration = json.loads((project / "reports" / pipeline / "registration.json").read_text(encoding="utf-8"))
    assert (registration["alias"], registration["version"]) == ("champion", 1)
    is_reported = "nothing was held out" in str(registration)
    assert is_reported == ("measured_on" in metrics) == (pipeline in ("linear", "hello_rnn"))
    assert (project / "reports" / pipeline / "report.html").stat().st_size > 10_000
    assert "see also:" in output

    again = headrace(project, "run", pipeline, **mirror)
    assert again.count("unchanged") >= 6
    assert " running" not in again
