"""A label of several numbers: scaled apart for training, and in their own units in the saved model."""

import keras
import numpy as np
import polars as pl

from headrace.components.examples.settings import NumberFeature, NumbersLabel, NumberTarget
from headrace.components.examples.split_settings import Split
from headrace.components.models.build import build
from headrace.components.models.settings import Model
from headrace.components.training.feeding.split_arrays import label_array
from headrace.components.training.optimization.losses import build_loss
from headrace.components.transforms.apply import apply
from headrace.components.transforms.fit import fit
from headrace.components.transforms.layers import raw_model
from headrace.components.transforms.min_max import MinMax
from headrace.components.transforms.standardize import Standardize

LABEL = NumbersLabel(targets={"weight": NumberTarget(), "waist": NumberTarget()})


def test_each_number_is_scaled_by_its_own_and_given_back_in_its_unit(tmp_path) -> None:
    draw = np.random.default_rng(1)
    x = draw.normal(5, 2, 300)
    rows = {"example_id": np.arange(300, dtype=np.uint64), "x": x, "weight": 150 + 10 * x, "waist": 40 - x / 10}
    pl.DataFrame(rows).write_parquet(tmp_path / "examples.parquet")
    split, features = Split(held_out="none"), {"x": NumberFeature()}
    for transform in (Standardize(), MinMax()):
        fitted = fit(
            [tmp_path / "examples.parquet"],
            split=split,
            features=features,
            transforms={"x": (Standardize(),)},
            label=LABEL,
            label_transform=transform,
        )
        table = apply(pl.scan_parquet(tmp_path / "examples.parquet"), fitted).collect()
        labels = label_array(table, fitted=fitted)
        assert (labels.dtype, labels.shape) == (np.float32, (300, 2))
        low, high = (0, 1) if isinstance(transform, MinMax) else (labels.min(), labels.max())
        assert (labels.min(), labels.max()) == (low, high)
        core = build(Model.model_validate({"layers": []}), input_shape=(1,), label=LABEL)
        slope, intercept = np.polyfit(table["x"].to_numpy(), labels, 1)
        core.set_weights([slope[None, :].astype(np.float32), intercept.astype(np.float32)])
        assert float(build_loss(LABEL)(labels, core(table["x"].to_numpy()[:, None]))) < 1e-8
        raw_model(core, fitted).save(tmp_path / "model.keras")
        model = keras.saving.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
        outputs = np.asarray(model({"x": x[:, None].astype(np.float32)}))
        np.testing.assert_allclose(outputs, np.stack([rows["weight"], rows["waist"]], axis=1), rtol=1e-4)
