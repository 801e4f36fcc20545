"""What a training on Ray Train finds of its results."""

import pytest

from headrace.pipelines.params import Train
from headrace.pipelines.ray_train.ray_trainer import has_results
from headrace.pipelines.ray_train.training_job import TrainJob

TRAIN = {
    "model": {"layers": []},
    "optimizer": {"kind": "sgd", "learning_rate": 0.1},
    "global_batch_size": 64,
    "epochs": 1,
}


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
