"""`headrace generate`: text that a registered model writes after a prompt, or a sheet of images that one makes."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import structlog
import typer

from headrace.components.errors import ParamsError
from headrace.components.files.atomic import replace_file
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.tasks.variants import task_of
from headrace.pipelines.commands.arguments import AliasOption, PipelineName, load, writable_file
from headrace.pipelines.compatibility.tensorflow_import import import_tensorflow
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.project.trusted_code import code_of_project

_LENGTH, _TEMPERATURE, _COUNT = 400, 0.8, 100
_OF_TEXT, _OF_IMAGES = ("prompt", "length", "temperature"), ("count", "output")

log = structlog.get_logger()


def generate(  # noqa: PLR0913 - each is an option
    pipeline: PipelineName,
    *,
    prompt: Annotated[str | None, typer.Option(metavar="TEXT", help="The first words of a text.")] = None,
    length: Annotated[int | None, typer.Option(min=1, help="How many tokens follow it: 400.")] = None,
    temperature: Annotated[
        float | None,
        typer.Option(min=0, max=100, help="How freely they are drawn: 0.8; at 0 always the most probable."),
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, max=10_000, help="How many images: 100.")] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where images go: a PNG file.", callback=writable_file)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    alias: AliasOption = "champion",
) -> None:
    """Write text with a registered model of next tokens, or a sheet of images with one that makes them."""
    options = GenerateOptions(prompt, length, temperature, count, output)
    write_generated(*load(pipeline), options, seed=seed, alias=alias)


@dataclass(frozen=True)
class GenerateOptions:
    """Options for either kind of model; None where not given."""

    prompt: str | None = None
    length: int | None = None
    temperature: float | None = None
    count: int | None = None
    output: Path | None = None


def write_generated(
    pipeline: Pipeline, paths: PipelinePaths, options: GenerateOptions, *, seed: int, alias: str
) -> None:
    """Print text, or write a sheet of images, as the label says.

    Raises ParamsError for a pipeline of another label, and for an option of the other kind or one that is missing.
    """
    label = pipeline.ingest.label
    made = task_of(label).generates
    if made == "text":
        _refuse(options, _OF_IMAGES, f"{pipeline.name} writes text")
        if options.prompt is None:
            raise ParamsError(f"{pipeline.name} writes text: give its first words, --prompt TEXT")
        length, temperature = options.length or _LENGTH, options.temperature
        temperature = _TEMPERATURE if temperature is None else temperature
        write_text(
            pipeline, paths, prompt=options.prompt, length=length, temperature=temperature, seed=seed, alias=alias
        )
    elif made == "images":
        _refuse(options, _OF_TEXT, f"{pipeline.name} makes images")
        if options.output is None:
            raise ParamsError(f"{pipeline.name} makes images: say where to, --output FILE.png")
        write_images(pipeline, paths, count=options.count or _COUNT, output=options.output, seed=seed, alias=alias)
    else:
        raise ParamsError(
            f"{pipeline.name} predicts {label.name} (a {label.type}), and only a model of next tokens can write text, "
            "or one of generated images make some; take a pipeline whose ingest.label is next_token or generated"
        )


def write_text(
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

    Raises DataError for a prompt that the model can't continue, and ServiceError where there is no such model.
    """
    import_tensorflow()
    from headrace.components.serving_model.next_tokens import generate as tokens_after
    from headrace.components.serving_model.next_tokens import text_model
    from headrace.components.serving_model.saved_model import load_model
    from headrace.pipelines.tracking.registry import model_file

    model = text_model(load_model(model_file(paths.root, pipeline.name, alias), may_run=code_of_project(paths.root)))
    between = "" if model.unit == "character" else " "
    written = prompt
    for token in tokens_after(model, prompt, length=length, temperature=temperature, seed=seed):
        typer.echo(f"{written}{between}", nl=False)  # the prompt itself once it is known to be good
        written = token
    typer.echo(written)


def write_images(pipeline: Pipeline, paths: PipelinePaths, *, count: int, output: Path, seed: int, alias: str) -> None:
    """Write a sheet of images, as many in a row as there are rows, to a PNG file.

    Raises ParamsError for another kind of file, DataError for a model that makes no images, and ServiceError where
    there is no such model.
    """
    if output.suffix.lower() != ".png":
        raise ParamsError(f"can't write {output}: its name must end in .png")
    import_tensorflow()
    from PIL import Image

    from headrace.components.plots.sheet import sheet, square_columns
    from headrace.components.serving_model.generate_images import generate_images, require_generator
    from headrace.components.serving_model.saved_model import load_model
    from headrace.pipelines.tracking.registry import model_file

    model = load_model(model_file(paths.root, pipeline.name, alias))
    require_generator(model)
    feature = ImageFeature.require(pipeline.ingest.features[pipeline.ingest.label.name])
    images = generate_images(model, count=count, seed=seed) * (255 / feature.maximum)
    with replace_file(output) as file:
        Image.fromarray(sheet(images, columns=square_columns(count))).save(file, format="PNG")
    log.info("generated", images=count, output=str(output))


def _refuse(options: GenerateOptions, names: tuple[str, ...], what: str) -> None:
    given = [name for name, value in asdict(options).items() if name in names and value is not None]
    if given:
        raise ParamsError(f"{what}: leave --{given[0]} out")
