"""params.yaml is checked whole before any work, and a mistake is named with its fix."""

import pytest
import yaml
from pydantic import ValidationError

from headrace.components.errors import ParamsError
from headrace.pipelines.params import Train, list_pipelines, load_pipeline, with_workers


@pytest.fixture
def content(repository):
    return yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))


def written(folder, content):
    file = folder / "params.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


def test_every_pipeline_of_the_repository_is_valid(repository):
    file = repository / "params.yaml"
    for name in list_pipelines(file):
        assert load_pipeline(file, name).name == name


def test_every_section_is_named_and_every_name_has_a_section(content):
    names = [*content["pipelines"], *content["classifiers"]]
    assert sorted(names) == sorted(set(content) - {"pipelines", "classifiers"})


# place of the mistake, new value (None: remove), what the message must say
MISTAKES = [
    (("train", "epoch"), 3, r"digits\.train\.epoch: unknown name; did you mean 'epochs'\?"),
    (("train", "optimizer", "learnin_rate"), 1, r"did you mean 'learning_rate'"),
    (("train", "epochs"), 0, r"digits\.train\.epochs: input should be greater than or equal to 1, found 0"),
    (("train", "epochs"), None, r"digits\.train\.epochs: field required"),
    (("train", "optimizer", "learning_rate"), float("nan"), r"learning_rate: .*found nan"),
    (("train", "model", "layers"), [{"kind": "conv3d"}], r"layers\.0: .*'conv3d'.*did you mean 'conv2d'\?"),
    (
        ("train", "model", "layers"),
        [{"kind": "dense", "units": 3}, {"kind": "conv2d", "filters": 1, "kernel_size": 3}],
        r"layers\.1 \(conv2d\): needs an image",
    ),
    (
        ("train", "global_batch_size"),
        1,
        r"digits\.train: global_batch_size 1 is too small for 2 workers; raise it to 4",
    ),
    (
        ("train", "model", "augment"),
        {"flip": "none"},
        r"train\.model\.augment: .*nothing is changed; give one of shift",
    ),
    (("train", "model", "augment"), {"zoom": 1}, r"augment\.zoom: .*less than or equal to 0\.9, found 1"),
    (
        ("train", "model", "augment"),
        {"rotation_degree": 10},
        r"augment\.rotation_degree: unknown name; did you mean 'rotation_degrees'",
    ),
    (("split", "validation_fraction"), 0.9, r"digits\.split: .*leave no training examples"),
    (("normalize", "transforms"), {"imag": []}, r"transforms\.imag: not a feature; did you mean 'image'\?"),
    (("ingest", "label", "classes"), ["0", "0"], r"ingest\.label\..*classes must differ"),
    (("tran",), {}, r"digits\.tran: unknown name; did you mean 'train'\?"),
    (("register", "slices"), [{"by": "digit"}], r"register\.slices\.0\.by: no category 'digit'"),
    (("register", "guards"), {"f3": {}}, r"register\.guards\.f3: there is no metric 'f3'"),
    (("register", "compare", "confidence"), 1, r"register\.compare\.confidence: .*less than or equal to 0\.9999"),
    (("split",), {"held_out": "test", "test_fraction": 0.2}, "best_by"),
    (("train", "calibration"), "platt", r"train\.calibration: .*'none', 'temperature' or 'isotonic'"),
    (
        ("register", "compare", "metric"),
        "acuracy",
        r"register\.compare\.metric: there is no metric 'acuracy'; there are: accuracy, average_precision",
    ),
    (
        ("normalize", "transforms"),
        {"image": [{"kind": "one_hot"}]},
        r"transforms\.image: one_hot can't be applied to an",
    ),
    (("name",), "other", r"digits\.name: unknown name; a pipeline is named by its section"),
    (("register", "thresholds", "accuracy"), {}, r"give minimum, maximum or both"),
]


@pytest.mark.parametrize(("place", "value", "message"), MISTAKES)
def test_a_mistake_is_named_with_its_place_and_its_fix(tmp_path, content, place, value, message):
    section = content["digits"]
    for name in place[:-1]:
        section = section[name]
    if value is None:
        del section[place[-1]]
    else:
        section[place[-1]] = value
    with pytest.raises(ParamsError, match=message):
        load_pipeline(written(tmp_path, content), "digits")


def test_augmented_images_are_refused_with_xla_which_can_not_resample_them(tmp_path, content):
    content["digits"]["train"]["jit_compile"] = True
    load_pipeline(written(tmp_path, content), "digits")
    content["digits"]["train"]["model"]["augment"] = {"shift": 0.1}
    with pytest.raises(ParamsError, match=r"digits\.train: .*jit_compile: XLA has no resampling of images"):
        load_pipeline(written(tmp_path, content), "digits")


def test_averaged_weights_need_moments_that_are_averaged_as_long(tmp_path, content):
    train = content["digits"]["train"]
    train["optimizer"]["ema_momentum"] = 0.99
    train["model"]["layers"].insert(1, {"kind": "batch_normalization", "momentum": 0.99})
    load_pipeline(written(tmp_path, content), "digits")
    train["model"]["layers"][1]["momentum"] = 0.9
    with pytest.raises(ParamsError, match=r"layers\.1 \(batch_normalization\): momentum 0\.9 is below .* raise it to"):
        load_pipeline(written(tmp_path, content), "digits")


def test_a_misspelt_name_is_one_line_though_the_right_one_is_missing(tmp_path, content):
    train = content["digits"]["train"]
    train["epoch"] = train.pop("epochs")
    with pytest.raises(
        ParamsError, match=r"^params\.yaml: digits\.train\.epoch: unknown name; did you mean 'epochs'\?$"
    ):
        load_pipeline(written(tmp_path, content), "digits")


def test_an_unknown_pipeline_gets_the_nearest_name(repository):
    with pytest.raises(ParamsError, match=r"no pipeline 'minst' in .*; did you mean 'mnist'\?"):
        load_pipeline(repository / "params.yaml", "minst")


@pytest.mark.parametrize("text", ["[", "just text", "pipelines: digits"])
def test_a_file_that_is_no_params_file_is_one_clear_error(tmp_path, text):
    file = tmp_path / "params.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ParamsError, match=r"params\.yaml"):
        load_pipeline(file, "digits")


def test_a_missing_file_is_one_clear_error(tmp_path):
    with pytest.raises(ParamsError, match="can't read"):
        load_pipeline(tmp_path / "params.yaml", "digits")


@pytest.mark.parametrize(("typed", "least", "most"), [("3", 3, 3), ("1:4", 1, 4)])
def test_workers_may_be_typed_as_a_number_or_a_range(repository, typed, least, most):
    train = with_workers(load_pipeline(repository / "params.yaml", "digits"), typed).train
    assert (train.min_workers, train.max_workers) == (least, most)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_workers": 3}, "4 logical_shards can't be divided among 3 workers"),
        ({"num_workers": {"min": 2, "max": 3}}, "4 logical_shards can't be divided among 3 workers"),
        ({"num_workers": 8}, "4 logical_shards can't be divided among 8 workers"),
        ({"use_gpu": True}, "set use_gpu: false, or reproducible: to_rounding"),
        (
            {"global_batch_size": 7},
            "7 is too small for 4 logical shards; raise it to 8 or more",
        ),
        ({"reproducible": "yes"}, "Input should be 'to_rounding' or 'bitwise'"),
    ],
)
def test_a_bitwise_training_that_can_not_be_is_refused(repository, changes, said):
    train = load_pipeline(repository / "params.yaml", "digits").train
    with pytest.raises(ValidationError, match=said):
        Train.model_validate({**train.model_dump(), "reproducible": "bitwise", **changes})


@pytest.mark.parametrize("typed", ["0", "four", "4:1", ":", "1:2:3", "33"])
def test_workers_that_make_no_sense_are_refused(repository, typed):
    with pytest.raises(ParamsError, match=f"--workers {typed}: expected a number, or a range such as 1:4; "):
        with_workers(load_pipeline(repository / "params.yaml", "digits"), typed)


def test_the_metric_that_headrace_0_1_compared_by_is_read(tmp_path, content):
    expected = content["digits"]["register"].pop("compare")
    content["digits"]["register"]["compare_by"] = "accuracy"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    assert (
        load_pipeline(tmp_path / "params.yaml", "digits").register_.compare.model_dump(exclude_defaults=True)
        == expected
    )
    content["digits"]["register"]["compare"] = expected
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ParamsError, match=r"register\.compare_by: unknown name"):
        load_pipeline(tmp_path / "params.yaml", "digits")


def test_slices_are_read_from_lists(tmp_path, content):
    content["titanic"]["register"]["slices"] = [{"by": "Sex"}, {"by": ["Pclass", "Sex"], "minimum_rows": 20}]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    found = load_pipeline(tmp_path / "params.yaml", "titanic").register_.slices
    assert [one.columns for one in found] == [("Sex",), ("Pclass", "Sex")]
