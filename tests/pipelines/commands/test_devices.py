"""What TensorFlow computes on, and how fast it is."""

import json

import pytest

from headrace.components.devices import Device, convolution_seconds, find_devices
from headrace.pipelines.commands.devices import EXIT_NO_GPU, described, lines, show_devices

CPU, GPU = Device("CPU:0", "2 cores"), Device("GPU:0", "NVIDIA H200")
HAS_GPU = any(device.is_gpu for device in find_devices())


def test_the_first_device_is_the_cpu_and_each_can_be_timed():
    found = find_devices()
    assert found[0].name == "CPU:0"
    assert [device.is_gpu for device in found] == [False] + [True] * (len(found) - 1)
    assert all(0 < convolution_seconds(device, runs=1) < 60 for device in found)


def test_the_ratio_is_the_cpus_time_in_the_gpus():
    first, header = lines([CPU, GPU], [2.0, 0.04])[1:], lines([CPU], [2.0])[0]
    assert "10 runs" in header
    assert "100 x 100 x 3 with 32 filters of 7 x 7" in header
    assert first == ["CPU:0  2 cores         2.000 s", "GPU:0  NVIDIA H200     0.040 s  50.0 times as fast as CPU:0"]
    assert described([CPU, GPU], [2.0, 0.04])["devices"][1]["times_as_fast_as_cpu"] == 50.0


def test_json_has_every_device_and_its_time(capsys):
    assert show_devices(require_gpu=False, as_json=True) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["gpus"] == len(shown["devices"]) - 1
    assert all(device["seconds"] > 0 for device in shown["devices"])


@pytest.mark.skipif(HAS_GPU, reason="is about machines without a GPU")
def test_a_gpu_that_is_required_and_not_there_is_an_exit_code_of_its_own(capsys, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert show_devices(require_gpu=True, as_json=False) == EXIT_NO_GPU == 69
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: no GPU: TensorFlow")
    assert "CUDA_VISIBLE_DEVICES='-1'" in said.err
