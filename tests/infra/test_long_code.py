"""Long modules and functions are named, and stop nothing."""

from infra.long_code import long_code


def test_what_is_long_is_named_with_its_place(tmp_path):
    for room in ("components", "pipelines", "infra"):
        (tmp_path / room).mkdir()
    body = "".join(f"    x = {number}\n" for number in range(60))
    (tmp_path / "components" / "long.py").write_text(f"def short() -> None: ...\n\n\ndef long() -> None:\n{body}")
    (tmp_path / "pipelines" / "module.py").write_text("x = 1\n" * 401)
    assert long_code(tmp_path) == ["components/long.py:4: long has 61 lines", "pipelines/module.py: 401 lines"]
