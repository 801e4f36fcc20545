from pipelines.commands.list import fresh_stages


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
