"""Figures of a GPU: NVIDIA's library is a stand-in, as its documentation has its functions."""

import ctypes
from types import SimpleNamespace

import pytest

from headrace.pipelines.host import gpu


def set_uint(pointer, value: int) -> None:
    ctypes.cast(pointer, ctypes.POINTER(ctypes.c_uint))[0] = value


def library(asked: list) -> SimpleNamespace:
    def by_index(index, handle) -> int:
        asked.append(index.value)
        return 0 if index.value < 2 else 2  # NVML_ERROR_INVALID_ARGUMENT

    def by_uuid(name, handle) -> int:
        asked.append(name)
        return 0

    def memory(handle, found) -> int:
        ctypes.cast(found, ctypes.POINTER(ctypes.c_ulonglong))[2] = 3 * 2**30
        return 0

    return SimpleNamespace(
        nvmlInit_v2=lambda: 0,
        nvmlDeviceGetHandleByIndex_v2=by_index,
        nvmlDeviceGetHandleByUUID=by_uuid,
        nvmlDeviceGetUtilizationRates=lambda handle, found: set_uint(found, 87) or 0,
        nvmlDeviceGetMemoryInfo=memory,
        nvmlDeviceGetPowerUsage=lambda handle, found: set_uint(found, 351_500) or 0,
    )


@pytest.fixture
def asked(monkeypatch) -> list:
    found: list = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library(found))
    gpu._device.cache_clear()
    yield found
    gpu._device.cache_clear()


@pytest.mark.parametrize(("devices", "device"), [("1", 1), ("0,1", 0), ("GPU-5ebe9f43", b"GPU-5ebe9f43")])
def test_the_first_visible_device_is_read(monkeypatch, asked, devices, device) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
    assert gpu.gpu_figures() == {"gpu_percent": 87.0, "gpu_memory_mebibytes": 3072.0, "gpu_watts": 351.5}
    assert asked == [device]


@pytest.mark.parametrize("devices", ["", "-1", "7"])
def test_without_a_device_there_are_no_figures(monkeypatch, asked, devices) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
    assert gpu.gpu_figures() == {}


def test_without_a_driver_there_are_none(monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    gpu._device.cache_clear()
    monkeypatch.setattr(gpu, "_LIBRARY", "libno-such-driver.so.1")
    assert gpu.gpu_figures() == {}
    gpu._device.cache_clear()
