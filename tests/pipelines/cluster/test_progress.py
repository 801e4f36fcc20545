"""The progress file: whole lines, each once, whatever happens to the one being written."""

from pipelines.cluster.progress import follow, tell


def test_events_arrive_once_and_in_order(tmp_path):
    file, seen = tmp_path / "progress.jsonl", []
    shown = follow(file, 0, seen.append)
    tell(file, "epoch", {"epoch": 1, "loss": 0.5})
    shown = follow(file, shown, seen.append)
    tell(file, "note", {"note": "x"})
    shown = follow(file, shown, seen.append)
    assert follow(file, shown, seen.append) == shown
    assert seen == [{"kind": "epoch", "epoch": 1, "loss": 0.5}, {"kind": "note", "note": "x"}]


def test_a_line_cut_short_by_a_full_disk_does_not_spoil_the_next(tmp_path):
    file, seen = tmp_path / "progress.jsonl", []
    tell(file, "epoch", {"epoch": 1})
    with file.open("a", encoding="utf-8") as lines:
        lines.write('\n{"kind": "epoch", "epo')
    shown = follow(file, 0, seen.append)
    tell(file, "epoch", {"epoch": 3})
    follow(file, shown, seen.append)
    assert [event["epoch"] for event in seen] == [1, 3]


def test_where_nothing_can_be_written_training_goes_on(tmp_path):
    tell(tmp_path / "absent" / "progress.jsonl", "epoch", {"epoch": 1})
