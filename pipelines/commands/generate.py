"""Generate: a prompt in, the text with which a registered model goes on."""

import typer

from components.errors import ParamsError
from components.examples.settings import NextTokenLabel
from pipelines.commands.quiet import import_tensorflow
from pipelines.params import Pipeline
from pipelines.paths import PipelinePaths


def generate(
    pipeline: Pipeline,
    paths: PipelinePaths,
    *,
    prompt: str,
    length: int,
    temperature: float,
    seed: int,
    alias: str,
) -> None:
    """Print the prompt and `length` tokens more, as they are drawn.

    Raises ParamsError for a pipeline of another label, DataError for a prompt that the model can't go on from, and
    ServiceError where there is no such model.
    """
    label = pipeline.ingest.label
    if not isinstance(label, NextTokenLabel):
        raise ParamsError(
            f"{pipeline.name} predicts {label.name} (a {label.type}), and only a model of next tokens can write text; "
            "give a pipeline whose ingest.label is of type next_token"
        )
    import_tensorflow()
    from components.models.next_tokens import generate as tokens_after
    from components.models.next_tokens import text_model
    from components.models.saved import load_model
    from pipelines.tracking.registry import model_file

    model = text_model(load_model(model_file(paths.root, pipeline.name, alias)))
    between = "" if model.unit == "character" else " "
    written = prompt
    for token in tokens_after(model, prompt, length=length, temperature=temperature, seed=seed):
        typer.echo(f"{written}{between}", nl=False)  # the prompt itself once it is known to be good
        written = token
    typer.echo(written)
