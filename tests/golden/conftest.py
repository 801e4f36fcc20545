"""Golden outputs: what each stage computes from small inputs, by the version of its numerics."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.components.numerics import NUMERICS

FILE = Path(__file__).with_name("outputs.json")
Check = Callable[[str, str, Any], None]


@pytest.fixture
def check() -> Check:
    """Compare what a stage computes with the golden output of its version; `make golden` writes a new version's."""
    return _check


def _check(stage: str, case: str, output: Any) -> None:
    golden = json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}
    kept, version = golden.get(f"{stage}/{case}"), NUMERICS[stage]
    if kept is not None and kept["version"] == version:
        difference = _difference(output, kept["output"], case)
        assert difference is None, (
            f"{stage} computes something else than version {version} of its numerics: {difference}. If that is meant, "
            f"raise NUMERICS[{stage!r}] in components/numerics.py, run `make golden` and `headrace upgrade`"
        )
        return
    assert os.environ.get("WRITE_GOLDEN"), f"no golden output of {stage}, version {version}: run `make golden`"
    golden[f"{stage}/{case}"] = {"version": version, "output": output}
    lines = [f"{json.dumps(name)}: {json.dumps(one)}" for name, one in sorted(golden.items())]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _difference(found: Any, expected: Any, place: str) -> str | None:
    """The first place where two outputs differ; floats may by rounding, as other processors round otherwise."""
    if isinstance(expected, dict) and isinstance(found, dict) and expected.keys() == found.keys():
        below = (_difference(found[name], one, f"{place}.{name}") for name, one in expected.items())
        return next(filter(None, below), None)
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        below = (_difference(found[index], one, f"{place}.{index}") for index, one in enumerate(expected))
        return next(filter(None, below), None)
    if isinstance(expected, float) and isinstance(found, float):
        return (
            None
            if found == pytest.approx(expected, rel=1e-5, abs=1e-6, nan_ok=True)
            else f"{place}: {found} for {expected}"
        )
    return None if found == expected and type(found) is type(expected) else f"{place}: {found!r} for {expected!r}"
