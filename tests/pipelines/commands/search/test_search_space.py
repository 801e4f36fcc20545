"""What may be searched, which trials come of it, and what is refused before any work."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.errors import ParamsError
from headrace.pipelines.commands.search.search_space import check_axes, combinations, parse_axis
from headrace.pipelines.params import list_pipelines, load_pipeline
from headrace.pipelines.project.edit_params import with_values


@pytest.fixture(scope="module")
def digits(repository):
    return load_pipeline(repository / "params.yaml", "digits")


def trials(*typed: str, draws: int = 5, seed: int = 1):
    return combinations([parse_axis(one) for one in typed], draws=draws, seed=seed)


@settings(deadline=None)
@given(low=st.floats(1e-8, 1.0), ratio=st.floats(1.0001, 1e6), seed=st.integers(0, 2**32))
def test_what_is_drawn_lies_between_the_bounds_and_is_short(low, ratio, seed):
    high = low * ratio
    found = trials(f"train.a=log:{low}:{high}", f"train.b=uniform:{low}:{high}", draws=3, seed=seed)
    for value in (value for values in found for value in values.values()):
        assert low <= value <= high
        assert value in (low, high) or len(f"{value:e}".rstrip("0").partition("e")[0]) <= 8


def test_integers_include_both_bounds():
    assert {values["train.a"] for values in trials("train.a=integer:1:3", draws=50)} == {1, 2, 3}


def test_each_draw_is_used_with_every_combination_of_the_grids():
    found = trials("train.seed=grid:1,2", "train.a=uniform:0:1", "train.b=grid:x,y", draws=3)
    assert len(found) == 12
    assert len({values["train.a"] for values in found}) == 3
    assert [(values["train.seed"], values["train.b"]) for values in found[:4]] == [
        (1, "x"),
        (1, "y"),
        (2, "x"),
        (2, "y"),
    ]


def test_grids_alone_need_no_draws_and_equal_trials_are_there_once():
    assert len(trials("train.seed=grid:1,2,3", draws=50)) == 3
    assert len(trials("train.a=choice:1,2", draws=50)) == 2


def test_more_draws_begin_with_those_of_fewer_and_another_seed_gives_others():
    few, more = trials("train.a=log:1e-4:1", draws=3), trials("train.a=log:1e-4:1", draws=9)
    assert more[:3] == few
    assert trials("train.a=log:1e-4:1", draws=3, seed=2) != few


def test_values_are_read_as_yaml_reads_them():
    assert parse_axis("train.a=choice:1,0.5,1e-4,true,null,adam,'2'").values == (1, 0.5, 1e-4, True, None, "adam", "2")


def test_no_values_change_nothing(repository):
    file = repository / "params.yaml"
    for name in list_pipelines(file):
        assert with_values(load_pipeline(file, name), {}) == load_pipeline(file, name)


def test_values_reach_lists_unions_and_sections_that_lack(digits):
    changed = with_values(
        digits,
        {
            "train.model.layers.0.filters": 8,
            "train.optimizer.kind": "sgd",
            "train.optimizer.momentum": 0.5,
            "train.early_stopping.patience_epochs": 3,
        },
    )
    assert changed.train.model.layers[0].filters == 8
    assert (changed.train.optimizer.kind, changed.train.optimizer.momentum) == ("sgd", 0.5)
    assert changed.train.early_stopping.patience_epochs == 3
    assert digits.train.early_stopping is None


# what is typed, what the message must say
MISTAKES = [
    ("train.epochs", "expected PLACE=KIND:VALUES"),
    ("train.epochs=5", "expected PLACE=KIND:VALUES"),
    ("train.epochs=int:1:5", "unknown kind 'int'; did you mean 'integer'"),
    ("train.epochs=integer:5", "expected LOWEST:HIGHEST"),
    ("train.epochs=integer:1.5:2", "expected LOWEST:HIGHEST"),
    ("train.epochs=integer:5:5", "below the highest"),
    ("train.epochs=uniform:nan:5", "below the highest"),
    ("train.optimizer.learning_rate=log:0:1", "above 0"),
    ("train.epochs=choice:1,,2", "with commas between them"),
    ("train.epochs=choice:[1]", "with commas between them"),
    ("evaluate.worst_examples=grid:1,2", "a trial depends on train, normalize, split, ingest.features only"),
    ("ingest.label.name=choice:a,b", "a trial depends on"),
    ("train.num_workers=choice:1,2", "changes no model"),
    ("train.checkpoints.keep_last=choice:2,3", "changes no model"),
    ("train.epoch=integer:1:5", "digits.train.epoch: unknown name; did you mean 'epochs'"),
    ("train.epochs=integer:0:5", "digits.train.epochs: input should be greater than or equal to 1, found 0"),
    ("train.optimizer.kind=choice:adam,adan", "did you mean 'adam'"),
    ("train.model.layers.9.units=choice:1,2", "has 6 items, counted from 0; there is no '9'"),
    ("train.model.layers.0=choice:1,2", "name one in it: kind, filters"),
    ("train.epochs.x=choice:1,2", "train.epochs is a value, 12"),
    ("split.validation_fraction=uniform:0.1:0.9", "leave no training examples"),
]


@pytest.mark.parametrize(("typed", "message"), MISTAKES)
def test_a_mistake_is_named_with_what_was_typed(digits, typed, message):
    with pytest.raises(ParamsError) as raised:
        axis = parse_axis(typed)
        check_axes(digits, [axis], trials(typed)[0])
    assert str(raised.value).startswith(f"--search {typed}: ")
    assert message in str(raised.value)


def test_a_place_is_searched_once(digits):
    axes = [parse_axis("train.seed=grid:1,2"), parse_axis("train.seed=grid:3")]
    with pytest.raises(ParamsError, match="searched twice"):
        check_axes(digits, axes, {"train.seed": 3})
