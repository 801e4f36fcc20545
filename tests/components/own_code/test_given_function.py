"""Functions that a program gives, and the file that workers import them from."""

import functools
import importlib
import json
import runpy
import sys
from pathlib import Path

import pytest

from headrace.components.errors import ParamsError
from headrace.components.own_code.given_function import given_function

SOURCE = "def build():\n    return 1\n\n\nclass Model:\n    def build(self):\n        pass\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "given_models").mkdir()
    (tmp_path / "given_models" / "churn.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("given_models", "given_models.churn"):
        sys.modules.pop(name, None)


def test_a_function_of_a_module_is_found_from_where_imports_start(project):
    module = importlib.import_module("given_models.churn")

    assert given_function(module.build, called="build_model") == (project, "given_models/churn.py", "build")
    assert given_function(module.Model, called="build_model").name == "Model"


def test_a_function_of_the_program_is_found_in_its_folder(project):
    program = project / "program.py"
    program.write_text(SOURCE, encoding="utf-8")
    build = runpy.run_path(str(program), run_name="__main__")["build"]

    assert given_function(build, called="build_model") == (project, "program.py", "build")


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda: 1, "made within another function"),
        (functools.partial(print), "expected a function, found partial"),
        (3, "expected a function, found int"),
        (json.dumps, "an installed package"),
        (pytest.fixture, "an installed package"),
    ],
)
def test_what_no_worker_can_import_is_refused(function, said):
    with pytest.raises(ParamsError, match=said):
        given_function(function, called="build_model")


def test_a_method_or_an_inner_function_is_refused(project):
    module = importlib.import_module("given_models.churn")

    def inner() -> None: ...

    for function in (module.Model.build, inner):
        with pytest.raises(ParamsError, match="made within another function"):
            given_function(function, called="callbacks")


def test_a_function_of_no_file_is_refused():
    space: dict[str, object] = {}
    exec(compile(SOURCE, "<ipython-input-3>", "exec"), space)

    with pytest.raises(ParamsError, match="in a notebook, write it to one"):
        given_function(space["build"], called="build_model")
