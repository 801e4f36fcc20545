"""What a step returns, and which of it metrics have computed: the others' totals make those of the global batch."""

from collections.abc import Callable
from typing import Any

import keras

from headrace.components.training.workers.attribute_override import overridden

Metrics = dict[str, keras.metrics.Metric]


class StepLogs(dict[str, Any]):
    """Logs of a step of this worker, the metric behind each where there is one, and how many examples the step had."""

    def __init__(self, logs: dict[str, Any], metrics: Metrics, examples: float) -> None:
        super().__init__(logs)
        self.metrics, self.examples = metrics, examples


def with_metrics_noted(
    model: keras.Model, step_function: Callable[[Any], Any], metrics: Metrics
) -> Callable[[Any], Any]:
    """Return `step_function`; as it is traced, `metrics` gets the metric whose result each of its logs is."""

    def noted(data: Any) -> Any:
        results: list[tuple[Any, keras.metrics.Metric]] = []

        def noting(metric: keras.metrics.Metric, plain_result: Callable[[], Any]) -> Callable[[], Any]:
            def result() -> Any:
                results.append((plain_result(), metric))
                return results[-1][0]

            return result

        with overridden(*((metric, "result", noting(metric, metric.result)) for metric in model.metrics)):
            logs = step_function(data)
        if isinstance(logs, dict):
            metrics.update((name, metric) for name, log in logs.items() for one, metric in results if one is log)
        return logs

    return noted
