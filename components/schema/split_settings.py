"""Settings of how examples are split."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from headrace.components.schema.settings import Fraction, Moment, Settings


class Split(Settings):
    """Which examples are held out: a share of them, drawn by id or by group, or those from a time on.

    A source's own test set stays the test set. With a time, the shares are drawn from the examples before it.
    """

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the split: another seed draws another split."""

    validation_fraction: Fraction = 0.0
    """Share of the examples that chooses the best epoch, of those outside a given test set. Give it or
    `validation_from`.
    """

    test_fraction: Fraction = 0.0
    """Share of the examples in the test split. Must be 0 where the source gives its own test set."""

    validation_from: Moment | None = None
    """Examples from this time on (`ingest.time`) are in the validation split."""

    test_from: Moment | None = None
    """Examples from this time on are in the test split."""

    overlap: Literal["drop", "keep", "refuse"] = "drop"
    """What happens to a held-out row whose content is also in training, or to a validation row whose content is also in
    the test split.
    """

    held_out: Literal["validation_and_test", "test", "none"] = "validation_and_test"
    """`test`: there is no validation split. `none`: all examples are for training, and the model is measured on the
    same rows, as metrics, report, registry and gate say. Without validation, `train.best_by` must be a training metric.
    """

    fold: Annotated[int, Field(ge=0)] = 0
    """Which share of `test_fraction` is the test split: folds 0 to 4 of a fifth hold out each example once. Statistics
    are fitted without the fold's test split.
    """

    test_generation: Annotated[int, Field(ge=0)] = 0
    """Another test split of `test_fraction` for each number, none of whose rows was in that of another number: for when
    many decisions were made on one. The rest of the rows, those of earlier test splits too, are for training.
    """

    @property
    def test_share(self) -> int:
        """Which share of `test_fraction` is the test split, of those side by side."""
        return self.fold + self.test_generation

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        if self.held_out == "none":
            if others := sorted(self.model_fields_set - {"held_out", "seed"}):
                raise ValueError(f"with held_out: none nothing is held out; leave {others[0]} out")
            return self
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction and test_fraction leave no training examples")
        if self.held_out == "test":
            if self.validation_fraction or self.validation_from:
                raise ValueError("with held_out: test nothing is validated on; leave out what says otherwise")
        elif ("validation_fraction" in self.model_fields_set) == bool(self.validation_from):
            raise ValueError("give one of validation_fraction (a share) and validation_from (a time)")
        if self.fold and not (self.test_fraction and (self.fold + 1) * self.test_fraction < 1 + 1e-9):
            raise ValueError(f"there is no fold {self.fold} of test_fraction {self.test_fraction:g}")
        if self.test_generation and not self.test_fraction:
            raise ValueError("test_generation takes another share of test_fraction, which is 0")
        if self.test_generation and not (self.test_share + 1) * self.test_fraction < 1 + 1e-9:
            raise ValueError(
                f"test_generation {self.test_generation}: all rows were in a test split of {self.test_fraction:g} "
                "before; test on new rows, or take another seed"
            )
        if self.test_fraction and self.test_from:
            raise ValueError("give one of test_fraction (a share) and test_from (a time)")
        if self.validation_from and self.test_from and self.validation_from >= self.test_from:
            raise ValueError("validation_from must be before test_from")
        if self.validation_from and self.test_fraction:
            raise ValueError("with validation_from, give test_from: a model is tested on what comes after validation")
        return self

    @property
    def measured_on(self) -> Literal["test", "train"]:
        """The split that a model is measured on: the training rows where nothing is held out."""
        return "train" if self.held_out == "none" else "test"

    @property
    def names_held_out(self) -> tuple[str, ...]:
        """The splits, besides that for training, that must have examples."""
        return {"validation_and_test": ("validation", "test"), "test": ("test",), "none": ()}[self.held_out]

    @property
    def is_by_time(self) -> bool:
        """Whether any split is of what is from a time on."""
        return bool(self.validation_from or self.test_from)
