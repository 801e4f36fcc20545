"""Pages that are made from the code equal what it gives; the README is short; the settings page misses none."""

import json
import re
from pathlib import Path

import pytest
import typer

from headrace.pipelines.__main__ import app
from headrace.pipelines.params import load_pipeline
from infra import capacity_page, commands_page, decisions_page, pipelines_page

VARIABLE = re.compile(r"\b(HEADRACE_[A-Z][A-Z_]*|MLFLOW_TRACKING_URI|RAY_ADDRESS|RAY_AUTH_TOKEN_PATH|NO_COLOR)\b")
EXIT_CODE = re.compile(r"^(?:EXIT_\w+|HANDED_OVER) = (\d+)\b", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


@pytest.fixture(scope="module")
def code(repository: Path) -> str:
    """All text that could name a variable or an exit code."""
    files = [file for name in ("components", "pipelines", "dags", "infra") for file in (repository / name).rglob("*")]
    return "\n".join(
        file.read_text(encoding="utf-8")
        for file in files
        if file.is_file() and file.suffix in ("", ".py", ".yaml", ".md")
    )


@pytest.fixture(scope="module")
def settings(repository: Path) -> str:
    return (repository / "docs" / "settings.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("made", [capacity_page, commands_page, decisions_page, pipelines_page])
def test_a_page_is_what_is_made(made) -> None:
    assert made.PAGE.read_text(encoding="utf-8") == made.page(), "run `make pages`"


def test_every_command_argument_and_option_is_on_the_page() -> None:
    page = commands_page.page()
    commands = dict(commands_page._commands("headrace", typer.main.get_group(app)))
    assert {"headrace run", "headrace runs sweep"} <= set(commands)
    for name, command in commands.items():
        _, section = page.split(f"### `{name}`\n")
        section = section.split("\n### ")[0]
        for parameter in command.params:
            for word in [*parameter.opts, *parameter.secondary_opts]:
                assert not word.startswith("--") or word in section, f"{name} {word}"
            assert parameter.help and parameter.help.split("|")[0] in section, f"{name} {parameter.name}"


def test_every_make_target_is_on_the_page(repository: Path) -> None:
    phony = re.search(r"^\.PHONY: (.+)$", (repository / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    page = commands_page.page()
    assert [name for name in phony[1].split() if f"| `make {name}` |" not in page] == []


def test_every_variable_is_on_the_settings_page(code: str, settings: str) -> None:
    variables = set(VARIABLE.findall(code))
    assert {"HEADRACE_MIRROR", "HEADRACE_GENERATION"} <= variables
    assert sorted(name for name in variables if f"`{name}`" not in settings) == []


def test_every_variable_of_the_settings_page_is_in_the_code(code: str, settings: str) -> None:
    named = set(re.findall(r"\bHEADRACE_[A-Z_]+", settings)) - {"HEADRACE_STACK"}  # of the tests
    assert sorted(name for name in named if name not in code) == []


def test_every_exit_code_is_on_the_settings_page(code: str, settings: str) -> None:
    codes = set(EXIT_CODE.findall(code))
    assert {"2", "75", "76", "69"} <= codes
    assert sorted(one for one in codes if not re.search(rf"^\| {one} \|", settings, re.MULTILINE)) == []


def test_a_decision_that_is_superseded_is_shown_with_its_successor(tmp_path: Path) -> None:
    (tmp_path / "0001-first.md").write_text("# 1. First\n\nStatus: superseded by [2](0002-second.md)\n")
    (tmp_path / "0002-second.md").write_text("# 2. Second\n\nStatus: accepted\n")
    assert decisions_page.page(tmp_path).splitlines()[-2:] == [
        "| 1 | [First](decisions/0001-first.md) | superseded by [2](decisions/0002-second.md) |  |",
        "| 2 | [Second](decisions/0002-second.md) | accepted | [1](decisions/0001-first.md) |",
    ]


def test_the_readme_is_short_and_its_links_lead_somewhere(repository: Path) -> None:
    text = (repository / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 130
    links = LINK.findall(text)
    assert len(links) > 20
    assert [link for link in links if not (repository / link).exists()] == []


def test_requests_of_the_serving_page_have_what_titanic_takes(repository: Path) -> None:
    page = (repository / "docs" / "serving.md").read_text(encoding="utf-8")
    requests = [json.loads(found) for found in re.findall(r" -d '(\{.*?\})'", page, flags=re.DOTALL)]
    rows = [row for request in requests for row in next(iter(request.values()))]
    assert len(rows) == 2
    taken = load_pipeline(repository / "params.yaml", "titanic").normalize.transforms
    assert [set(row) for row in rows] == [set(taken)] * 2
