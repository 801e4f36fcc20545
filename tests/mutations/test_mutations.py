"""The list of mutations is of today's code: each line is there, once."""

import importlib.util
from pathlib import Path

FILE = Path(__file__).with_name("run.py")


def mutations():
    spec = importlib.util.spec_from_file_location("run_mutations", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.mutations()


def test_every_mutation_changes_one_place_of_todays_code(repository):
    texts = {one.file: (repository / one.file).read_text(encoding="utf-8") for one in mutations()}
    assert [str(one) for one in mutations() if texts[one.file].count(one.before) != 1] == []
    assert [str(one) for one in mutations() if one.before == one.after] == []
    for one in mutations():  # what can't be compiled is no change of behaviour
        compile(one.applied(texts[one.file]), one.file, "exec")


def test_the_tests_of_every_mutation_are_there(repository):
    for file, _, name in {test.partition("::") for one in mutations() for test in one.tests}:
        assert (repository / file).is_file(), file
        assert f"def {name}(" in (repository / file).read_text(encoding="utf-8") or not name, (file, name)


def test_there_are_a_hundred_over_components_and_pipelines():
    assert len(mutations()) >= 100
    assert {one.file.split("/")[0] for one in mutations()} == {"components", "pipelines"}
