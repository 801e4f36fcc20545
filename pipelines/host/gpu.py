"""Use, memory and power of the GPU that this process was given, from NVIDIA's management library.

The library comes with the driver, and its C interface is stable: no package is needed. Without it there are no figures.
Reference: NVML API, https://docs.nvidia.com/deploy/nvml-api/
"""

import ctypes
import os
from functools import cache
from typing import Any

BYTES_PER_MEBIBYTE = 2**20
_LIBRARY = "libnvidia-ml.so.1"
_DEVICES = "CUDA_VISIBLE_DEVICES"


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def gpu_figures() -> dict[str, float]:
    """Return `gpu_percent`, `gpu_memory_mebibytes` and `gpu_watts` of the first visible GPU; nothing without one."""
    device = os.environ.get(_DEVICES, "").split(",")[0].strip()
    found = _device(device) if device and device != "-1" else None
    if found is None:
        return {}
    library, handle = found
    utilization, memory, milliwatts = _Utilization(), _Memory(), ctypes.c_uint()
    figures: dict[str, float] = {}
    if library.nvmlDeviceGetUtilizationRates(handle, ctypes.byref(utilization)) == 0:
        figures["gpu_percent"] = float(utilization.gpu)
    if library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) == 0:
        figures["gpu_memory_mebibytes"] = round(memory.used / BYTES_PER_MEBIBYTE, 1)
    if library.nvmlDeviceGetPowerUsage(handle, ctypes.byref(milliwatts)) == 0:
        figures["gpu_watts"] = milliwatts.value / 1000
    return figures


@cache
def _device(name: str) -> tuple[Any, Any] | None:
    """The library and its handle of a device, by index or UUID as CUDA_VISIBLE_DEVICES has it; None for no such one."""
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError:
        return None
    handle = ctypes.c_void_p()
    if library.nvmlInit_v2() != 0:
        return None
    if name.isdecimal():
        status = library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(int(name)), ctypes.byref(handle))
    else:
        status = library.nvmlDeviceGetHandleByUUID(name.encode(), ctypes.byref(handle))
    return (library, handle) if status == 0 else None
