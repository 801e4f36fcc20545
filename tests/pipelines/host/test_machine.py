"""What a record says of the machine."""

from pathlib import Path

from headrace.pipelines.host.machine import _gpus, this_machine


def test_the_machine_has_cores_memory_and_a_processor(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    machine = this_machine()
    assert machine.cores >= 1
    assert machine.memory_bytes > 2**26
    assert machine.processor
    assert machine.threads == 3


def test_gpus_are_named_by_the_drivers_files(tmp_path: Path):
    assert _gpus(tmp_path / "nothing") == ()
    for number in (0, 1):
        (tmp_path / f"0000:0{number}:00.0").mkdir()
        (tmp_path / f"0000:0{number}:00.0" / "information").write_text("Model: \t\t NVIDIA H200\nIRQ: 1\n")
    assert _gpus(tmp_path) == ("NVIDIA H200", "NVIDIA H200")
