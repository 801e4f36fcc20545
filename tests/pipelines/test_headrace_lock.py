"""headrace.lock: what it says is what is installed, or a stage refuses to run."""

import platform

import pytest

from headrace.components import numerics
from headrace.components.errors import ParamsError
from headrace.components.numerics import NUMERICS, PACKAGES
from headrace.pipelines import headrace_lock
from headrace.pipelines.headrace_lock import installed, pinned, require_lock, wanted, write_lock


def test_a_lock_that_was_just_written_is_true(tmp_path):
    write_lock(tmp_path)
    require_lock(tmp_path, NUMERICS)
    before = (tmp_path / "headrace.lock").stat().st_mtime_ns
    write_lock(tmp_path)
    assert (tmp_path / "headrace.lock").stat().st_mtime_ns == before


@pytest.mark.parametrize(("stage", "package"), [(stage, name) for stage in PACKAGES for name in PACKAGES[stage]])
def test_another_version_of_a_package_is_refused_where_it_decides_something(tmp_path, monkeypatch, stage, package):
    write_lock(tmp_path)
    real = headrace_lock.version
    monkeypatch.setattr(headrace_lock, "version", lambda name: "99.0" if name == package else real(name))
    with pytest.raises(
        ParamsError, match=rf"for {stage}: {package} {real(package)}, found 99\.0\. .*`headrace upgrade`"
    ):
        require_lock(tmp_path, [stage])


def test_other_numerics_are_refused(tmp_path, monkeypatch):
    write_lock(tmp_path)
    monkeypatch.setattr(headrace_lock, "NUMERICS", {**NUMERICS, "train": 99})
    require_lock(tmp_path, ["split"])
    with pytest.raises(ParamsError, match=f"for train: numerics {NUMERICS['train']}, found 99"):
        require_lock(tmp_path, ["train"])


@pytest.mark.parametrize("constant", ["GOLDEN", "MULTIPLIERS", "SHIFTS"])
def test_a_changed_constant_of_the_mixing_is_refused_by_every_stage(tmp_path, monkeypatch, constant):
    from headrace.components import mixing

    write_lock(tmp_path)
    present = getattr(mixing, constant)
    changed = present[::-1] if isinstance(present, tuple) else type(present)(int(present) + 2)
    monkeypatch.setattr(mixing, constant, changed)
    numerics.mixing_digest.cache_clear()
    try:
        for stage in NUMERICS:
            with pytest.raises(ParamsError, match=rf"for {stage}: mixing \w+, found"):
                require_lock(tmp_path, [stage])
    finally:
        numerics.mixing_digest.cache_clear()


def test_a_missing_file_is_refused_where_dvc_reads_it(tmp_path):
    require_lock(tmp_path, ["train"])
    (tmp_path / "dvc.yaml").write_text("stages: {a: {params: [{headrace.lock: [train]}]}}")
    with pytest.raises(ParamsError, match=r"no headrace\.lock beside dvc\.yaml"):
        require_lock(tmp_path, ["train"])


@pytest.mark.parametrize("content", ["", "[1, 2]", "train: 3", "ingest: {numerics: 1}"])
def test_a_file_without_the_stage_is_refused(tmp_path, content):
    (tmp_path / "headrace.lock").write_text(content)
    with pytest.raises(ParamsError, match="no section 'train'"):
        require_lock(tmp_path, ["train"])


@pytest.mark.parametrize("content", [b"\xff\xfe", b"train: {"])
def test_a_damaged_file_is_one_line(tmp_path, content):
    (tmp_path / "headrace.lock").write_bytes(content)
    with pytest.raises(ParamsError, match=r"^headrace\.lock: .*$"):
        require_lock(tmp_path, ["train"])


def test_pins_are_those_of_this_python(tmp_path):
    file = tmp_path / "requirements.lock"
    file.write_text(
        "# made by hand\n"
        "numpy==2.4.6 ; python_full_version >= '3.0' \\\n    --hash=sha256:00\n"
        "numpy==1.0 ; python_full_version < '3.0' \\\n    --hash=sha256:00\n"
        "polars>=2\n"
        "keras==3.15.1\n"
    )
    assert pinned(file) == {"numpy": "2.4.6", "keras": "3.15.1"}
    with pytest.raises(ParamsError, match="expected a line polars==VERSION"):
        write_lock(tmp_path, file)


def test_python_counts_by_its_minor_version():
    assert installed("train")["python"] == ".".join(platform.python_version_tuple()[:2])


def test_versions_to_have_are_those_of_the_file_or_of_this_installation(tmp_path):
    here = {name: str(one) for name, one in installed("train").items() if name not in ("numerics", "mixing")}
    assert wanted(tmp_path, "train") == here
    (tmp_path / "headrace.lock").write_text("train: {numerics: 3, python: '3.12', keras: 3.99.0}\n")
    assert wanted(tmp_path, "train") == {"python": "3.12", "keras": "3.99.0"}
