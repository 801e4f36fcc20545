"""The README names every command, every make target and every setting."""

import re
from pathlib import Path

import pytest
import typer

from headrace.pipelines.__main__ import app

SETTING = re.compile(r"\b(HEADRACE_[A-Z][A-Z_]*|MLFLOW_TRACKING_URI|RAY_ADDRESS|NO_COLOR)\b")


@pytest.fixture(scope="module")
def readme(repository: Path) -> str:
    return (repository / "README.md").read_text(encoding="utf-8")


def test_every_command_is_in_the_readme(readme: str) -> None:
    commands = typer.main.get_group(app).commands
    assert [name for name in commands if not re.search(rf"headrace {name}\b", readme)] == []


def test_every_option_is_in_the_readme(readme: str) -> None:
    options = {
        option
        for command in typer.main.get_group(app).commands.values()
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("--")
    }
    assert sorted(option for option in options if option not in readme) == []


def test_every_setting_is_in_the_readme(repository: Path, readme: str) -> None:
    code = [
        file for folder in ("components", "pipelines", "dags", "infra") for file in (repository / folder).rglob("*")
    ]
    texts = [file.read_text(encoding="utf-8") for file in code if file.is_file() and file.suffix != ".pyc"]
    settings = {name for text in texts for name in SETTING.findall(text)}
    assert "HEADRACE_MIRROR" in settings
    assert sorted(name for name in settings if name not in readme) == []


def test_every_make_target_is_in_the_readme(repository: Path, readme: str) -> None:
    targets = re.findall(r"^([a-z]+):.*## ", (repository / "Makefile").read_text(), flags=re.MULTILINE)
    assert {"setup", "run", "test", "check", "bench", "clean", "help"} <= set(targets)
    assert [target for target in targets if f"make {target}" not in readme] == []
