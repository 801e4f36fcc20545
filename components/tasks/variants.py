"""All tasks, by the kind of label."""

from collections.abc import Callable
from typing import Any

from headrace.components.schema.labels import (
    CategoryLabel,
    GeneratedLabel,
    Label,
    NextTokenLabel,
    NumberLabel,
    NumbersLabel,
)
from headrace.components.schema.settings import Settings
from headrace.components.tasks.classification import Classification
from headrace.components.tasks.generation import Generation
from headrace.components.tasks.next_token import NextToken
from headrace.components.tasks.regression import OneNumber, SeveralNumbers
from headrace.components.tasks.task import Task

TASKS: dict[type[Settings], Callable[[Any], Task]] = {
    CategoryLabel: Classification,
    NumberLabel: OneNumber,
    NumbersLabel: SeveralNumbers,
    NextTokenLabel: NextToken,
    GeneratedLabel: Generation,
}


def task_of(label: Label) -> Task:
    """The task of learning a label."""
    return TASKS[type(label)](label)
