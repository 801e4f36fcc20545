"""Transforms that are classes of the project's own."""

import json

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.errors import DataError, ParamsError
from headrace.components.own_code.importable_code import OwnCode
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.transforms.own_network import read_network, traced, written_network

FILE = "transforms/own.py"
CODE = OwnCode(
    {
        FILE: """\
import math

import numpy as np
from keras import layers, ops


class Log:
    def __init__(self, *, base: float = 10.0):
        self.base = base

    def fit(self, column):
        self.minimum = column.minimum

    def transform(self, values):
        return ops.log1p(ops.maximum(values - self.minimum, 0.0)) / math.log(self.base)


class Cycle:
    def __init__(self, *, period: float):
        self.period = period

    def transform(self, values):
        angle = values * (2 * math.pi / self.period)
        return ops.concatenate([ops.sin(angle), ops.cos(angle)], axis=-1)


class Clipped:
    def fit(self, column):
        self.least, self.most = column.quantile(0.05), column.quantile(0.95)

    def transform(self, values):
        return ops.clip(values, self.least, self.most)


class Noted:
    noted = []

    def fit(self, column):
        self.noted.append(column)

    def transform(self, values):
        return values * 1.0


class Centered:
    def transform(self, values):
        return values - ops.mean(values)


class Trained:
    def transform(self, values):
        return layers.Dense(1)(values)


class ByNumPy:
    def transform(self, values):
        return np.log(values)


class Plain:
    def transform(self, values):
        return 3


class Unlimited:
    def transform(self, values):
        return ops.log(values)


class Raising:
    def fit(self, column):
        raise ValueError("no")

    def transform(self, values):
        return values


class WithoutTransform:
    pass
"""
    }
)
MEDIAN, STANDARDIZE = {"kind": "impute", "strategy": "median"}, {"kind": "standardize"}


def own(name, **others):
    return {"kind": "python", "file": FILE, "class": name, **others}


def cycle(period):
    return own("Cycle", arguments={"period": period}, columns=2)


@settings(deadline=None, max_examples=6)
@given(data=st.data())
def test_both_forms_agree(data, assert_chains_agree):
    chains = [[own("Log")], [MEDIAN, own("Clipped"), STANDARDIZE, own("Log", arguments={"base": 2})], [cycle(7)]]
    numbers = st.floats(-1000, 1000, width=32, allow_subnormal=False)
    assert_chains_agree(data, numbers=chains, code=CODE, of_number=numbers)


def test_it_is_fitted_to_what_the_transforms_before_give(fit_one):
    values = [float(value) for value in range(101)]
    fit_one(values, [{"kind": "min_max"}, own("Noted")], NumberFeature(), CODE)
    with CODE.importable():
        column = CODE.function(FILE, "Noted").noted[-1]
    assert (column.name, column.count, column.minimum, column.maximum, column.median) == ("x", 101, 0, 1, 0.5)
    assert column.mean == pytest.approx(0.5)
    assert column.standard_deviation == pytest.approx(np.std(np.linspace(0, 1, 101)))
    assert column.quantile(0.9) == pytest.approx(0.9, rel=0.01)
    with pytest.raises(ValueError, match="a fraction from 0 to 1, found 90"):
        column.quantile(90)


def test_what_is_fitted_is_the_same_bytes_each_time_and_holds_no_code(fit_one):
    chain = [own("Log"), STANDARDIZE]
    first = fit_one([1.0, 2.0, 5.0], chain, NumberFeature(), CODE).model_dump_json()
    keras.Input((1,)) * 2.0  # counts in the names that Keras gives
    assert fit_one([1.0, 2.0, 5.0], chain, NumberFeature(), CODE).model_dump_json() == first
    modules = {layer["module"] for layer in json.loads(first)["transforms"][0]["network"]["config"]["layers"]}
    assert all(module.split(".")[0] == "keras" for module in modules)


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        (own("Nope"), f"{FILE}: no function or class 'Nope'"),
        (own("WithoutTransform"), "has no method `transform\\(values\\)`"),
        (own("Log", arguments={"base": "ten"}), "argument 'base': .* found 'ten'"),
        (own("Log", arguments={"bse": 2}), "argument 'bse'"),
        (own("Cycle"), "argument 'period'"),
        (own("Raising"), f"{FILE}:[0-9]+: ValueError: no"),
        (own("ByNumPy"), f"{FILE}:[0-9]+: .*Make `transform` of operations of keras.ops alone"),
        (own("Plain"), "transform gave int for values of shape"),
        (own("Cycle", arguments={"period": 7}), r"gave shape \(None, 2\) .* expected \(None, 1\)"),
        (own("Log", columns=2), r"gave shape \(None, 1\) .* expected \(None, 2\)"),
        (own("Centered"), "makes another value of a row where other rows are there"),
        (own("Trained"), "a transform has no weights to train"),
    ],
)
def test_a_class_that_is_no_transform_is_refused(fit_one, transform, said):
    with pytest.raises(ParamsError, match=said):
        fit_one([1.0, 2.0, 5.0], [transform], NumberFeature(), CODE)


def test_values_that_are_not_finite_are_refused_by_the_first_of_them(fit_one, applied):
    with pytest.raises(DataError, match=r"Unlimited: transform made \[nan\] of -1; it must give finite numbers"):
        fit_one([-1.0, 2.0, 5.0], [own("Unlimited")], NumberFeature(), CODE)
    fitted = fit_one([1.0, 2.0, 5.0], [own("Unlimited")], NumberFeature(), CODE)
    with pytest.raises(DataError, match=r"Unlimited: transform made \[-inf\] of 0"):
        applied([1.0, 0.0], NumberFeature(), *fitted.transforms)


def test_several_columns_come_last(check_one):
    check_one({"type": "number"}, [own("Log"), STANDARDIZE, cycle(7)])
    with pytest.raises(ParamsError, match="standardize can't be applied to columns of a python transform"):
        check_one({"type": "number"}, [cycle(7), STANDARDIZE])
    with pytest.raises(ParamsError, match="python can't be applied to a category"):
        check_one({"type": "category"}, [own("Log")])


def test_a_network_that_runs_code_is_not_read():
    network = traced(lambda values: values * 2.0, columns=1, place="own")
    written = written_network(network, place="own")
    step = {"module": "builtins", "class_name": "eval", "config": {}, "registered_name": None, "inbound_nodes": []}
    written["config"]["layers"].append({**step, "name": "step_9"})
    with pytest.raises((TypeError, ValueError)):
        read_network(written)
