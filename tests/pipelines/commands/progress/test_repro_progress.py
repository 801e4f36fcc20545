from headrace.pipelines.commands.progress.repro_progress import Progress

STAGES = ("ingest", "train", "evaluate")


def states(*lines: str) -> dict[str, str]:
    progress = Progress(STAGES)
    for line in lines:
        progress.read(line)
    progress.end(failed=True)
    return {name: stage.state for name, stage in progress.stages.items()}


def test_a_stage_that_exits_with_an_error_has_failed():
    progress = Progress(STAGES)
    progress.read("Running stage 'train@digits':")
    progress.read("ERROR: failed to reproduce 'train@digits': failed to run: headrace train digits, exited with 2")
    progress.end(failed=True)
    assert progress.stages["train"].state == "failed"
    assert progress.stage_exit_code == 2


def test_a_stage_that_dvc_refuses_to_start_has_failed_and_the_one_before_it_has_not():
    refused = (
        "ERROR: failed to reproduce 'evaluate@digits': Parameters 'digits.evaluate' are missing from 'params.yaml'."
    )
    assert states("Stage 'ingest@digits' didn't change, skipping", "Running stage 'train@digits':", refused) == {
        "ingest": "unchanged",
        "train": "done",
        "evaluate": "failed",
    }


def test_digests_of_own_code_are_no_stage_of_the_pipeline():
    lines = (
        "Stage 'ingest@digits' didn't change, skipping",
        "Running stage 'own_code':",
        "Running stage 'train@digits':",
    )
    assert states(*lines) == {"ingest": "unchanged", "train": "failed", "evaluate": "waiting"}
