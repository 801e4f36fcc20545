"""`headrace devices`: what TensorFlow computes on, and how fast each device is."""

import json
import os
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.pipelines.compatibility.tensorflow_import import import_tensorflow

if TYPE_CHECKING:
    from headrace.components.devices import Device

EXIT_NO_GPU = 69  # EX_UNAVAILABLE of sysexits.h


def devices(
    *,
    require_gpu: Annotated[bool, typer.Option("--require-gpu", help="Fail, with exit code 69, without a GPU.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found and timed as JSON.")] = False,
) -> None:
    """Show the CPU and GPUs that TensorFlow sees, and how fast each is."""
    raise typer.Exit(show_devices(require_gpu=require_gpu, as_json=as_json))


def show_devices(*, require_gpu: bool, as_json: bool) -> int:
    """Print every device with the time it takes for the same work; return EXIT_NO_GPU where one is missed, else 0."""
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # leave the memory to trainings on that GPU
    import_tensorflow()
    from headrace.components.devices import convolution_seconds, find_devices

    found = find_devices()
    lacks_gpu = not any(device.is_gpu for device in found)
    if lacks_gpu and require_gpu:
        typer.echo(f"error: {_no_gpu()}", err=True)
        return EXIT_NO_GPU
    seconds = [convolution_seconds(device) for device in found]
    if as_json:
        typer.echo(json.dumps(described(found, seconds), indent=2))
        return 0
    for line in lines(found, seconds):
        typer.echo(line)
    if lacks_gpu:
        typer.echo(_no_gpu())
    return 0


def described(found: Sequence["Device"], seconds: Sequence[float]) -> dict[str, Any]:
    """Devices and their times in seconds, with the ratio of the first CPU's time to each GPU's; ready for JSON."""
    from headrace.components.devices import OPERATION, RUNS

    timed = [
        {"name": device.name, "description": device.description, "seconds": taken}
        | ({"times_as_fast_as_cpu": seconds[0] / taken} if device.is_gpu else {})
        for device, taken in zip(found, seconds, strict=True)
    ]
    gpus = sum(device.is_gpu for device in found)
    return {"tensorflow": version("tensorflow"), "operation": OPERATION, "runs": RUNS, "gpus": gpus, "devices": timed}


def lines(found: Sequence["Device"], seconds: Sequence[float]) -> list[str]:
    """`described` as text: one line per device."""
    shown = described(found, seconds)
    width = max(len(device.description) for device in found)
    table = [f"{shown['runs']} runs of: {shown['operation']}"]
    for one in shown["devices"]:
        ratio = f"  {one['times_as_fast_as_cpu']:.1f} times as fast as CPU:0" if "times_as_fast_as_cpu" in one else ""
        table.append(f"{one['name']}  {one['description']:<{width}}  {one['seconds']:8.3f} s{ratio}")
    return table


def _no_gpu() -> str:
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    chosen = f" (CUDA_VISIBLE_DEVICES={hidden!r})" if hidden is not None else ""
    return (
        f"no GPU: TensorFlow {version('tensorflow')} sees none on this machine{chosen}; it needs NVIDIA's driver "
        "and the packages of tensorflow[and-cuda]"
    )
