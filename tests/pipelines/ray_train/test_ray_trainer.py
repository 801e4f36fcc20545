"""Resources that are requested of Ray Train."""

import pytest

from headrace.pipelines.params import Train
from headrace.pipelines.ray_train.ray_trainer import has_results, scaling
from headrace.pipelines.ray_train.training_job import TrainJob

TRAIN = {
    "model": {"layers": []},
    "optimizer": {"kind": "sgd", "learning_rate": 0.1},
    "global_batch_size": 64,
    "epochs": 1,
}


@pytest.mark.parametrize(("num_workers", "requested"), [(3, 3), ({"max": 4}, (1, 4)), ({"min": 2, "max": 4}, (2, 4))])
def test_a_number_or_a_range_of_workers_is_requested(num_workers, requested):
    found = scaling(Train.model_validate({**TRAIN, "num_workers": num_workers}))
    assert found.num_workers == requested
    assert found._resources_per_worker_not_none == {"CPU": 1}


def test_each_worker_gets_one_gpu_if_requested():
    found = scaling(Train.model_validate({**TRAIN, "num_workers": 3, "use_gpu": True}))
    assert found._resources_per_worker_not_none["GPU"] == 1


@pytest.mark.parametrize("num_workers", [1, 2, 3, 6, {"min": 2, "max": 6}])
def test_the_logical_shards_of_a_bitwise_training_share_the_cores_of_its_workers(num_workers):
    settings = {**TRAIN, "num_workers": num_workers, "reproducible": "bitwise", "logical_shards": 6}
    found, cores = scaling(Train.model_validate(settings)), num_workers if isinstance(num_workers, int) else 2
    assert found.num_workers == 6
    share = found._resources_per_worker_not_none["CPU"]
    assert cores - 0.001 < 6 * share <= cores
    assert share == round(share, 4)  # Ray rounds to these


@pytest.mark.parametrize("place", ["results", "published"])
def test_results_are_in_a_folder_here_or_noted_to_be_in_the_storage(tmp_path, place):
    job = TrainJob(
        run_name="digits-1",
        folder=tmp_path / "job",
        splits=tmp_path / "splits",
        statistics=tmp_path / "statistics.json",
        train=Train.model_validate(TRAIN),
    )
    assert has_results(job) is False
    getattr(job, place).parent.mkdir(parents=True, exist_ok=True)
    assert has_results(job) is False
    job.results.mkdir() if place == "results" else job.published.touch()
    assert has_results(job) is True
