import shutil

from headrace.pipelines.commands.list import fresh_stages


def test_a_finished_pipeline_is_fresh_and_a_change_makes_what_follows_stale(project):
    lines = project.output_of("list").splitlines()
    assert lines[0].split() == ["pipeline", "ingest", "train", "register", "description"]
    assert lines[1].split()[:4] == ["digits", "fresh", "fresh", "fresh"]
    project.write_stages(train="true")
    assert project.output_of("list").splitlines()[1].split()[:4] == ["digits", "fresh", "stale", "stale"]


def test_a_stage_after_a_stale_one_is_stale():
    graph = {"ingest": (), "split": ("ingest",), "train": ("split",)}
    assert fresh_stages(graph, changed={"split"}) == {"ingest"}
    assert fresh_stages(graph, changed=set()) == {"ingest", "split", "train"}


def test_every_command_closes_the_state_whatever_dvc_has_made_of_it(project):
    state = project.root / ".headrace"
    state.mkdir(exist_ok=True)
    state.chmod(0o777)
    project.output_of("list")
    assert state.stat().st_mode & 0o777 == 0o700


def test_dvc_keeps_its_notes_in_the_project(project, monkeypatch):
    """Nobody plants a cache of hashes: DVC's own place for it may be written by all users of a machine."""
    monkeypatch.delenv("DVC_SITE_CACHE_DIR", raising=False)
    shutil.rmtree(project.root / ".headrace", ignore_errors=True)
    project.output_of("list")
    assert [*(project.root / ".headrace" / "dvc" / "repo").iterdir()]
