"""Which results are of older numerics: those whose models a later version of a stage computes otherwise."""

import pytest

from headrace.components.numerics import NUMERICS, has_changed


@pytest.mark.parametrize(
    ("stage", "since", "layers", "expected"),
    [
        ("train", 1, {"embedding", "dense"}, True),
        ("train", 1, {"dense"}, False),
        ("train", 0, {"dense"}, True),
        ("train", NUMERICS["train"], {"embedding"}, False),
        ("train", NUMERICS["train"] + 1, set(), True),
        ("ingest", 1, set(), True),
    ],
)
def test_a_result_is_old_where_a_later_version_computes_another(stage, since, layers, expected):
    assert has_changed(stage, since, layers=layers) is expected
