"""Where a training stands, besides its weights, and what an epoch's figures make of it."""

from collections.abc import Mapping

from headrace.components.errors import TrainingError
from headrace.components.nearest_name import nearest
from headrace.components.schema.settings import Settings
from headrace.components.tasks.metric_names import LAST, lower_is_better
from headrace.components.training.plan import Plan


class TrainingState(Settings):
    """`epoch` whole epochs and `step` steps in all are done, of the present epoch in `seconds_in_epoch` so far.

    `best_value` is the value of `train.best_by` after `best_epoch`. For early stopping, `stalled_epochs` have gone by
    since the figure improved upon `improved_value`. `is_ended` where a callback has set `model.stop_training`.
    """

    epoch: int = 0
    step: int = 0
    seed: int
    best_epoch: int = 0
    best_value: float | None = None
    improved_value: float | None = None
    stalled_epochs: int = 0
    seconds_in_epoch: float = 0.0
    is_ended: bool = False
    history: tuple[dict[str, float], ...] = ()

    @property
    def seconds(self) -> float:
        """How long it has been trained; the time between a stop and the next start does not count."""
        return sum(figures.get("seconds", 0.0) for figures in self.history) + self.seconds_in_epoch


def after_epoch(
    state: TrainingState, figures: Mapping[str, float], *, plan: Plan, steps_per_epoch: int
) -> TrainingState:
    """Return the state after one more epoch with these figures, `train.best_by` among them unless it is "last"."""
    epoch = state.epoch + 1
    if plan.best_by == LAST:
        return _done(state, figures, steps_per_epoch, best_epoch=epoch)
    if plan.best_by not in figures:
        raise TrainingError(f"train.best_by: no metric {plan.best_by!r}{nearest(plan.best_by, figures)}")
    value = figures[plan.best_by]
    sign = -1 if lower_is_better(plan.best_by) else 1
    wanted = plan.early_stopping.minimum_improvement if plan.early_stopping else 0.0
    is_best = state.best_value is None or sign * (value - state.best_value) > 0
    has_improved = state.improved_value is None or sign * (value - state.improved_value) > wanted
    return _done(
        state,
        figures,
        steps_per_epoch,
        best_epoch=epoch if is_best else state.best_epoch,
        best_value=value if is_best else state.best_value,
        improved_value=value if has_improved else state.improved_value,
        stalled_epochs=0 if has_improved else state.stalled_epochs + 1,
    )


def is_finished(state: TrainingState, *, plan: Plan) -> bool:
    """Whether all epochs are done, or early stopping or a callback ends the training before that."""
    patience = plan.early_stopping.patience_epochs if plan.early_stopping else None
    return state.is_ended or state.epoch >= plan.epochs or (patience is not None and state.stalled_epochs >= patience)


def _done(
    state: TrainingState, figures: Mapping[str, float], steps_per_epoch: int, **best: float | None
) -> TrainingState:
    epoch = state.epoch + 1
    done = {"epoch": epoch, "step": epoch * steps_per_epoch, "seconds_in_epoch": 0.0}
    history = (*state.history, {"epoch": float(epoch), **figures})
    return state.model_copy(update={**done, "history": history, **best})
