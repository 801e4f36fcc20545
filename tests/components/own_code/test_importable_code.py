import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import pytest

from headrace.components.errors import ParamsError
from headrace.components.own_code.importable_code import OwnCode
from headrace.components.own_code.imported_files import read_sources
from headrace.components.own_code.signature import checked_arguments, require_function


def project(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        place = folder / f"{name.replace('__', '/')}.py"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    return folder


def test_a_file_and_what_it_imports_inside_the_project_are_found(tmp_path):
    root = project(
        tmp_path,
        models__churn="import numpy\nfrom models.blocks import gate\nfrom .heads import head\nimport shared.sizes as s",
        models__blocks="def gate():\n    from models import late\n    return late",
        models__late="",
        models__heads="head = 1",
        models__unused="",
        shared__sizes="UNITS = 2",
    )
    (root / "shared" / "__init__.py").write_text("", encoding="utf-8")
    found = read_sources(root, "models/churn.py")
    files = ["models/blocks.py", "models/churn.py", "models/heads.py", "models/late.py"]
    assert list(found) == [*files, "shared/__init__.py", "shared/sizes.py"]


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("models/none.py", "models/none.py: no such file in the project"),
        ("../outside.py", "leads out of the project"),
        ("/etc/passwd", "leads out of the project"),
        ("link.py", "leads out of the project"),
        ("broken.py", r"broken.py:2: not Python"),
        ("latin.py", "expected Python in UTF-8"),
    ],
)
def test_a_file_that_can_not_be_read_as_code_is_named(tmp_path, file, said):
    root = project(tmp_path / "project", broken="x = 1\nx = = 2")
    (root / "latin.py").write_bytes("# größe".encode("latin-1"))
    (tmp_path / "outside.py").write_text("", encoding="utf-8")
    (root / "link.py").symlink_to(tmp_path / "outside.py")
    with pytest.raises(ParamsError, match=said):
        read_sources(root, file)


def test_code_runs_as_it_was_read_although_its_file_changes(tmp_path):
    root = project(
        tmp_path,
        models__size="def size():\n    from models.units import UNITS\n    return UNITS",
        models__units="UNITS = 1",
    )
    old = OwnCode.of(root, ["models/size.py"])
    project(tmp_path, models__units="UNITS = 2")
    new = OwnCode.of(root, ["models/size.py"])
    for code, expected in ((old, 1), (new, 2), (old, 1)):
        with code.importable():
            assert code.function("models/size.py", "size")() == expected
    assert old.digest != new.digest
    assert not {"models", "models.size", "models.units"} & sys.modules.keys()


def test_what_a_function_imports_as_it_is_called_is_of_its_own_version():
    text = "def units():\n    from models.units import UNITS\n    import math\n    return math.floor(UNITS)"
    codes = [OwnCode({"models/size.py": text, "models/units.py": f"UNITS = {number}"}) for number in (1, 2)]
    functions = [code.function("models/size.py", "units") for code in codes]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda place: functions[place % 2](), range(400)))
    assert found == [1, 2] * 200
    assert not {"models", "models.size", "models.units"} & sys.modules.keys()


LAYER = """
import keras

@keras.saving.register_keras_serializable(package="own")
class Gate(keras.layers.Layer):
    factor = {factor}

    def call(self, values):
        return values * self.factor

def build():
    return keras.Sequential([keras.Input((1,)), Gate()])
"""


def test_a_model_is_loaded_with_the_version_of_the_code_that_made_it(tmp_path):
    codes = [OwnCode({"models/gate.py": LAYER.format(factor=factor)}) for factor in (2.0, 3.0)]
    for number, code in enumerate(codes):
        with code.importable():
            code.function("models/gate.py", "build")().save(tmp_path / f"{number}.keras")
    assert "own>Gate" not in keras.saving.get_custom_objects()
    for number, expected in ((0, 2.0), (1, 3.0), (0, 2.0)):
        with codes[number].importable():
            model = keras.saving.load_model(tmp_path / f"{number}.keras")
        assert model(keras.ops.ones((1, 1))).numpy().item() == expected
    with pytest.raises(TypeError, match="Could not locate class 'Gate'"):
        keras.saving.load_model(tmp_path / "0.keras")


def test_an_error_of_the_code_names_file_and_line(tmp_path):
    root = project(tmp_path, models__wrong="import math\n\nmath.sqrt(-1)")
    with pytest.raises(ParamsError, match=r"^models/wrong.py:3: ValueError: math domain error$"):
        OwnCode.of(root, ["models/wrong.py"]).function("models/wrong.py", "build_model")
    later = OwnCode({"late.py": "def build():\n    return [].pop()"})
    with (
        later.importable(),
        pytest.raises(ParamsError, match=r"^late.py:2: IndexError: pop from empty list$"),
        later.errors_named(),
    ):
        later.function("late.py", "build")()
    with pytest.raises(ParamsError, match=r"late.py: no function or class 'other'"):
        later.function("late.py", "other")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import sys\n\nsys.exit(0)", "^models/own.py:3: SystemExit: 0$"),
        ("class Odd(BaseException):\n    pass\nraise Odd('mine')", "^models/own.py:3: Odd: mine$"),
        (
            "class Odd(Exception):\n    def __str__(self):\n        return 1 / 0\nraise Odd",
            "^models/own.py:4: Odd: its text can't be made: ZeroDivisionError$",
        ),
    ],
)
def test_code_can_not_end_the_program_as_if_its_work_were_done(text, said):
    with pytest.raises(ParamsError, match=said):
        OwnCode({"models/own.py": text}).function("models/own.py", "build_model")


def test_what_a_signal_raises_is_no_error_of_the_code_that_it_interrupts():
    with pytest.raises(KeyboardInterrupt):
        OwnCode({"models/own.py": "raise KeyboardInterrupt"}).function("models/own.py", "build_model")


def test_a_byte_order_mark_is_no_part_of_the_code(tmp_path):
    (tmp_path / "own.py").write_bytes(b"\xef\xbb\xbfx = 1\n")
    assert read_sources(tmp_path, "own.py") == {"own.py": "x = 1\n"}


def test_an_expression_that_is_nested_too_deeply_is_refused(tmp_path):
    (tmp_path / "own.py").write_text("x = " + "+".join(["1"] * 20_000), encoding="utf-8")
    with pytest.raises(ParamsError, match=r"^own.py: not Python: maximum recursion depth exceeded"):
        read_sources(tmp_path, "own.py")


BUILD = """def build_model(inputs, label, *, units: int = 64, rate: float, **others):
    pass

def plain(inputs, label, units=3):
    pass

def one(inputs):
    pass

def by_place(inputs, label, /, units: int = 3):
    pass

async def later(inputs, label):
    pass
"""


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("build", [], "m.py: no function 'build'; did you mean 'build_model'"),
        ("build_model", ["units"], r"m.py:1: build_model: needs the argument 'rate'"),
        ("plain", ["unit"], "m.py:4: plain: takes no argument 'unit'; did you mean 'units'"),
        ("later", [], "m.py: later is an async function; expected one without async"),
        ("by_place", ["inputs"], "m.py:10: by_place: takes no argument 'inputs'"),
        ("one", [], r"m.py:7: one: expected the arguments \(inputs, label\), found 1 positional"),
    ],
)
def test_a_call_that_a_function_can_not_take_is_refused_without_running_the_file(name, arguments, said):
    with pytest.raises(ParamsError, match=said):
        require_function({"m.py": BUILD}, "m.py", name, given=("inputs", "label"), arguments=arguments)


def test_a_call_that_fits_is_accepted():
    require_function({"m.py": BUILD}, "m.py", "build_model", given=("inputs", "label"), arguments=["rate", "anything"])
    require_function({"m.py": BUILD}, "m.py", "plain", given=("inputs", "label"), arguments=[])
    require_function({"m.py": BUILD}, "m.py", "by_place", given=("inputs", "label"), arguments=["units"])
    require_function({"m.py": "from other import build"}, "m.py", "build", given=(), arguments=[])


def build_model(inputs, label, *, units: int = 64, sizes: "list[int]" = [1], name: str | None = None):  # noqa: B006
    pass


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"units": "many"}, "argument 'units': Input should be a valid integer.*found 'many'"),
        ({"sizes": [1, "x"]}, r"argument 'sizes.1': Input should be a valid integer"),
        ({"unit": 3}, "argument 'unit': Extra inputs are not permitted"),
    ],
)
def test_arguments_are_checked_against_annotations(arguments, said):
    with pytest.raises(ParamsError, match=said):
        checked_arguments(build_model, arguments, given=2, place="m.py: build_model")


def test_arguments_that_fit_are_passed_as_they_are_annotated():
    checked = checked_arguments(build_model, {"units": 3, "sizes": [4]}, given=2, place="")
    assert checked == {"units": 3, "sizes": [4]}


def test_names_that_pydantic_keeps_for_itself_are_arguments_as_any_other():
    def build(inputs, label, *, _units: int, model_dump: int, copy: int = 1, **others):
        pass

    given = {"_units": 3, "model_dump": "4", "copy": 5, "more": "x"}
    assert checked_arguments(build, given, given=2, place="") == {**given, "model_dump": 4}


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        ("list[", "m.py: build: an annotation can't be read: SyntaxError: "),
        ("1 / 0", "m.py: build: an annotation can't be read: ZeroDivisionError: division by zero"),
        (5, "m.py: build: an annotation is no type: 5 is not a Python type"),
    ],
)
def test_an_annotation_that_is_no_type_is_refused(annotation, said):
    def build(inputs, label, *, units):
        pass

    build.__annotations__["units"] = annotation
    with pytest.raises(ParamsError, match=said):
        checked_arguments(build, {"units": 3}, given=2, place="m.py: build")
