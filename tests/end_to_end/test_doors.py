"""What a plain `headrace run` opens to others: sockets while it runs, permissions of all that it writes."""

import os
import signal
import stat

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_all_of_a_training_listens_on_loopback_alone(digits):
    assert {"gcs_server", "raylet"} <= {name for name, _ in digits.listening}
    assert {one for one in digits.listening if one[1] not in LOOPBACK} == set()


def test_nothing_listens_when_it_has_ended(digits):
    assert digits.alive == []


def test_temporary_files_are_closed_to_others_and_gone_at_the_end(digits):
    assert digits.open_meanwhile == set()
    assert [*digits.temporary.iterdir()] == []


def test_what_it_leaves_is_its_users_and_nobody_else_may_change_it(digits):
    assert {path.lstat().st_uid for path in digits.written} == {os.geteuid()}
    assert [path for path in digits.written if path.lstat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)] == []


def test_state_is_private_and_no_token_is_left(digits):
    state = digits.root / ".headrace"
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert [*(state / "dvc" / "repo").iterdir()]  # DVC's notes, which else are in a folder that all may write
    assert not (digits.home / ".ray").exists()


@pytest.mark.long
def test_nothing_listens_after_a_ctrl_c(watched):
    run = watched()
    process = run.run("run", "digits")
    run.follow(process, until=lambda: [*run.root.glob(".headrace/ray/*/progress.jsonl")])
    process.send_signal(signal.SIGINT)
    run.follow(process)
    assert process.returncode == 130, run.output
    assert "raylet" in {name for name, _ in run.listening}
    assert run.alive == []
    assert [*run.temporary.iterdir()] == []
