"""What an epoch's metrics make of the training state."""

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.training.settings import Training
from headrace.components.training.state import TrainingState, after_epoch, is_finished

TRAINING = {
    "model": {"layers": []},
    "optimizer": {"kind": "sgd", "learning_rate": 0.1},
    "global_batch_size": 8,
    "epochs": 100,
}


def state_after(values: list[float], **changes) -> tuple[TrainingState, Training]:
    training = Training.model_validate({**TRAINING, **changes})
    state = TrainingState(seed=1)
    for value in values:
        state = after_epoch(state, {training.best_by: value}, plan=training, steps_per_epoch=7)
    return state, training


def test_the_best_epoch_is_the_first_one_with_the_lowest_error():
    state, _ = state_after([0.5, 0.2, 0.3, 0.2])
    assert (state.best_epoch, state.best_value) == (2, 0.2)
    assert (state.epoch, state.step) == (4, 28)


def test_the_best_epoch_is_the_one_with_the_highest_accuracy_if_requested():
    state, _ = state_after([0.5, 0.9, 0.3], best_by="validation_accuracy")
    assert (state.best_epoch, state.best_value) == (2, 0.9)


def test_the_last_epoch_is_the_best_where_no_metric_shows_how_good_it_is():
    training = Training.model_validate({**TRAINING, "best_by": "last"})
    state = TrainingState(seed=1)
    for value in (2.0, 1.0, 3.0):
        state = after_epoch(state, {"loss": value}, plan=training, steps_per_epoch=7)
    assert (state.epoch, state.step, state.best_epoch, state.best_value) == (3, 21, 3, None)
    assert [metrics["loss"] for metrics in state.history] == [2.0, 1.0, 3.0]
    assert not is_finished(state, plan=training)


def test_training_ends_when_the_metric_has_not_improved_for_the_patience():
    stopping = {"early_stopping": {"patience_epochs": 2}}
    assert not ends_after([0.5, 0.4, 0.4], stopping)
    assert ends_after([0.5, 0.4, 0.4, 0.5], stopping)


def test_an_improvement_that_is_too_small_is_none_but_many_together_are_one():
    stopping = {"early_stopping": {"patience_epochs": 3, "minimum_improvement": 0.1}}
    assert ends_after([0.5, 0.45, 0.44, 0.43], stopping)
    state, training = state_after([0.5, 0.45, 0.39, 0.38], **stopping)
    assert not is_finished(state, plan=training)
    assert state.best_epoch == 4  # the best is the best, however little better


def ends_after(values: list[float], changes: dict) -> bool:
    state, training = state_after(values, **changes)
    return is_finished(state, plan=training)


@settings(deadline=None, max_examples=50)
@given(values=st.lists(st.floats(0, 10), min_size=1, max_size=20), patience=st.integers(1, 5))
def test_a_training_never_ends_while_its_metric_improves(values, patience):
    falling = sorted(set(values), reverse=True)
    assert not ends_after(falling, {"early_stopping": {"patience_epochs": patience}})


def test_a_training_ends_with_its_last_epoch_and_not_one_later():
    for done, is_over in ((2, False), (3, True)):
        state, training = state_after([0.5] * done, epochs=3)
        assert is_finished(state, plan=training) is is_over
