"""Resources that are requested of Ray Train."""

import pytest

from headrace.components.errors import ParamsError
from headrace.pipelines.params import Train
from headrace.pipelines.ray_train import resources
from headrace.pipelines.ray_train.resources import requested, require_resources, scaling
from headrace.pipelines.remote_training.provenance import deciding_settings

TRAIN = {
    "model": {"layers": []},
    "optimizer": {"kind": "sgd", "learning_rate": 0.1},
    "global_batch_size": 64,
    "epochs": 1,
}
GIB = 2**30


def train(**settings) -> Train:
    return Train.model_validate({**TRAIN, **settings})


@pytest.mark.parametrize(("num_workers", "requested"), [(3, 3), ({"max": 4}, (1, 4)), ({"min": 2, "max": 4}, (2, 4))])
def test_a_number_or_a_range_of_workers_is_requested(num_workers, requested):
    found = scaling(train(num_workers=num_workers))
    assert found.num_workers == requested
    assert found._resources_per_worker_not_none == {"CPU": 1}


def test_each_worker_gets_one_gpu_if_requested():
    found = scaling(train(num_workers=3, use_gpu=True))
    assert found._resources_per_worker_not_none["GPU"] == 1


@pytest.mark.parametrize("num_workers", [1, 2, 3, 6, {"min": 2, "max": 6}])
def test_the_logical_shards_of_a_bitwise_training_share_the_cores_of_its_workers(num_workers):
    settings = {**TRAIN, "num_workers": num_workers, "reproducible": "bitwise", "logical_shards": 6}
    found, cores = scaling(Train.model_validate(settings)), num_workers if isinstance(num_workers, int) else 2
    assert found.num_workers == 6
    share = found._resources_per_worker_not_none["CPU"]
    assert cores - 0.001 < 6 * share <= cores
    assert share == round(share, 4)  # Ray rounds to these


def test_a_worker_has_the_resources_and_the_nodes_that_are_asked_for():
    found = scaling(
        train(
            num_workers=4,
            use_gpu=True,
            placement="spread",
            resources_per_worker={
                "cores": 8,
                "memory_bytes": 16 * GIB,
                "gpus": 1,
                "accelerator_type": "L4",
                "labels": {"ray.io/market-type": "!spot"},
            },
        )
    )
    assert found._resources_per_worker_not_none == {
        "CPU": 8,
        "GPU": 1,
        "memory": 16 * GIB,
        "accelerator_type:L4": 0.001,
    }
    assert found.placement_strategy == "SPREAD"
    assert found._label_selector_per_worker(2) == [{"ray.io/market-type": "!spot"}] * 2


def test_the_processes_of_a_bitwise_training_share_memory_and_cores_of_its_workers():
    settings = {"num_workers": 2, "reproducible": "bitwise", "logical_shards": 4}
    found = scaling(train(**settings, resources_per_worker={"cores": 6, "memory_bytes": 8 * GIB}))
    assert found._resources_per_worker_not_none == {"CPU": 3, "memory": 4 * GIB}


def test_workers_without_further_wishes_are_packed_anywhere():
    found = scaling(train())
    assert (found.placement_strategy, found.label_selector, found.accelerator_type) == ("PACK", None, None)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"num_workers": 2, "use_gpu": True, "resources_per_worker": {"gpus": 4}},
            "4 GPUs for each worker, which trains with one; leave it out, and raise num_workers from 2 to 8",
        ),
        ({"resources_per_worker": {"gpus": 1}}, "gpus is 1 and use_gpu is false; leave the first out"),
        ({"use_gpu": True, "resources_per_worker": {"gpus": 0}}, "gpus is 0 and use_gpu is true"),
        ({"resources_per_worker": {"accelerator_type": "L4"}}, "'L4' is a kind of GPU; set use_gpu: true"),
        ({"resources_per_worker": {"labels": {"zone": "a b"}}}, "labels.zone"),
        ({"resources_per_worker": {"labels": {"a/b/c": "x"}}}, "labels.a/b/c"),
        ({"resources_per_worker": {"cores": 0}}, "greater than or equal to 1"),
        ({"placement": "strict"}, "'pack' or 'spread'"),
    ],
)
def test_what_no_worker_can_have_is_refused(settings, said):
    with pytest.raises(ValueError, match="validation error") as refused:
        train(**settings)
    assert said in str(refused.value)


@pytest.mark.parametrize("selector", ["spot", "!spot", "in(a, b)", "!in(a,b-c)"])
def test_labels_are_selected_as_ray_selects_them(selector):
    assert train(resources_per_worker={"labels": {"ray.io/zone": selector}}).resources_per_worker.labels


def test_of_all_resources_cores_alone_make_another_training_since_they_are_threads():
    other = train(placement="spread", resources_per_worker={"memory_bytes": GIB})
    assert deciding_settings(other) == deciding_settings(train())
    four_cores = train(resources_per_worker={"cores": 4})
    assert deciding_settings(four_cores) == deciding_settings(train(threads_per_worker=4))


def test_what_is_waited_for_is_said_in_words():
    assert requested(train(num_workers=2)) == "2 workers of one core each are requested"
    asked = train(
        num_workers={"min": 3, "max": 4},
        use_gpu=True,
        resources_per_worker={
            "cores": 4,
            "memory_bytes": 3 * GIB // 2,
            "accelerator_type": "L4",
            "labels": {"zone": "a"},
        },
    )
    assert requested(asked) == (
        "3 workers of 4 cores, one GPU (L4) and 1.5 GiB each on nodes with zone=a are requested"
    )


@pytest.fixture
def machine(monkeypatch):
    """What the Ray of this process would have."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(resources.ray, "cluster_resources", lambda: {"CPU": 4.0, "GPU": 2.0, "memory": 8.0 * GIB})
    return monkeypatch


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"use_gpu": True, "num_workers": 3}, "3 workers need as many GPUs, and Ray finds 2"),
        ({"resources_per_worker": {"memory_bytes": 5 * GIB}}, "2 workers need 10.0 GiB, and Ray finds 8.0 GiB free"),
        ({"use_gpu": True, "resources_per_worker": {"accelerator_type": "L4"}}, "no L4 on this machine"),
        ({"resources_per_worker": {"labels": {"zone": "a"}}}, "nodes of a cluster have labels"),
    ],
)
def test_what_this_machine_has_not_is_refused_before_any_wait(machine, settings, said):
    with pytest.raises(ParamsError, match="RAY_ADDRESS") as refused:
        require_resources(train(**settings))
    assert said in str(refused.value)


def test_a_cluster_may_grow_and_is_not_checked(machine):
    require_resources(train(num_workers=2, resources_per_worker={"memory_bytes": 4 * GIB}))
    machine.setenv("RAY_ADDRESS", "head:6379")
    require_resources(train(use_gpu=True, num_workers=32, resources_per_worker={"labels": {"zone": "a"}}))
