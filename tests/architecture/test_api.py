"""What `import headrace` offers: a short list, documented, imported as late as it is used."""

import inspect
import subprocess
import sys

import pytest

import headrace
from infra.api_page import _GROUPS, PAGE, page


@pytest.mark.parametrize("name", headrace.__all__)
def test_every_public_name_is_there_with_a_docstring(name):
    assert inspect.getdoc(getattr(headrace, name))
    assert name in dir(headrace)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = headrace.trian


def test_every_public_name_is_on_the_page():
    assert sorted(name for names in _GROUPS.values() for name in names) == sorted(headrace.__all__)


def test_the_page_is_what_is_made():
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make pages`"


def test_importing_headrace_loads_none_of_its_rooms():
    code = "import sys, headrace; print([name for name in sys.modules if name.startswith('headrace.')])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
