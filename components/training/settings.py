"""How a model is trained."""

from typing import Annotated, Literal

from pydantic import Field

from components.models.settings import Model
from components.settings import Settings

LearningRate = Annotated[float, Field(gt=0, le=10)]


class Sgd(Settings):
    """Stochastic gradient descent, with momentum and Nesterov's correction if asked for."""

    kind: Literal["sgd"] = "sgd"
    learning_rate: LearningRate
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    nesterov: bool = False


class Adam(Settings):
    """Adam (Kingma and Ba, 2015), or AdamW with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    kind: Literal["adam", "adamw"]
    learning_rate: LearningRate
    beta_1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta_2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    weight_decay: Annotated[float, Field(ge=0)] | None = None


class RmsProp(Settings):
    """RMSprop (Tieleman and Hinton, 2012)."""

    kind: Literal["rmsprop"] = "rmsprop"
    learning_rate: LearningRate
    rho: Annotated[float, Field(ge=0, lt=1)] = 0.9
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0


Optimizer = Annotated[Sgd | Adam | RmsProp, Field(discriminator="kind")]


class Training(Settings):
    """The model and how it is trained: everything that decides the weights besides the data."""

    model: Model
    optimizer: Optimizer
    global_batch_size: Annotated[int, Field(ge=1, le=1_048_576)]
    epochs: Annotated[int, Field(ge=1, le=100_000)]
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    allow_untested_keras: bool = False
