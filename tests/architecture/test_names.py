"""A stage has one name, everywhere: dvc.yaml, its module, its command, its section of params.yaml; so has a command."""

from pathlib import Path

import typer
import yaml

from headrace.pipelines.__main__ import app
from headrace.pipelines.params import Pipeline

STAGES = ("ingest", "normalize", "split", "train", "evaluate", "register")


def test_dvc_yaml_has_every_stage(repository: Path) -> None:
    assert list(yaml.safe_load((repository / "dvc.yaml").read_text())["stages"]) == ["own_code", *STAGES]


def test_every_stage_is_a_module_with_a_function_of_its_name(repository: Path) -> None:
    files = {file.stem: file for file in (repository / "pipelines" / "stages").glob("*.py") if file.stem != "__init__"}
    assert set(files) == set(STAGES)
    for stage, file in files.items():
        assert f"\ndef {stage}(pipeline: Pipeline, paths: PipelinePaths" in file.read_text(), file


def test_every_stage_is_a_command() -> None:
    group = typer.main.get_group(app)
    assert {name for name, command in group.commands.items() if command.rich_help_panel == "Stages"} == set(STAGES)


def test_every_command_is_a_file_of_its_name(repository: Path) -> None:
    commands = {name.replace("-", "_"): one for name, one in typer.main.get_group(app).commands.items()}
    files = {file.stem for file in (repository / "pipelines" / "commands").glob("*.py")}
    assert files - {"__init__", "arguments"} == set(commands)
    for name, command in commands.items():
        functions = [one.callback for one in getattr(command, "commands", {name: command}).values()]
        assert {function.__module__ for function in functions} == {f"headrace.pipelines.commands.{name}"}


def test_every_stage_has_its_section_in_params_yaml() -> None:
    sections = {field.alias or name for name, field in Pipeline.model_fields.items()}
    assert sections - {"name", "description", "monitor", "schedule", "results"} == set(STAGES)


def test_every_stage_reads_only_declared_params(repository: Path) -> None:
    stages = yaml.safe_load((repository / "dvc.yaml").read_text())["stages"]
    assert stages.pop("own_code")["cmd"] == "headrace own-code"
    for name, stage in stages.items():
        assert stage["cmd"] == f"headrace {name} ${{item.pipeline}}"
        [lock, *params] = stage["params"]
        assert lock == {"headrace.lock": [name]}
        params = [param for param in params if param != {".headrace/code.json": [f"${{item.pipeline}}.{name}"]}]
        assert all(param.startswith("${item.pipeline}.") for param in params)
