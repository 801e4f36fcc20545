"""TensorBoard as a user starts and ends it."""

import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request

import psutil
import pytest
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from headrace.components.errors import DataError, ParamsError
from headrace.pipelines.commands.tensorboard import start_tensorboard
from headrace.pipelines.paths import PipelinePaths


def test_it_answers_on_this_machine_and_ends_with_ctrl_c(tmp_path, repository):
    shutil.copyfile(repository / "params.yaml", tmp_path / "params.yaml")
    paths = PipelinePaths(tmp_path, "digits")
    EventFileWriter(str(paths.tensorboard)).close()
    process = subprocess.Popen(
        [sys.executable, "-m", "headrace", "tensorboard", "digits"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said = process.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:(\d+)/", said)
        assert said.startswith("digits: TensorBoard at "), said
        with urllib.request.urlopen(f"{address[0]}data/plugins_listing", timeout=30) as answer:
            assert b'"scalars"' in answer.read()
        helpers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        output, problem = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, output, problem) == (0, "TensorBoard has ended\n", "")
    assert not psutil.wait_procs(helpers, timeout=10)[1]
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(address[1]))) != 0


def test_a_port_that_is_taken_is_said(tmp_path):
    paths = PipelinePaths(tmp_path, "digits")
    paths.tensorboard.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ParamsError, match=f"--port {port}: Address already in use"):
            start_tensorboard(paths, port=port)


def test_without_a_training_there_is_nothing_to_show(tmp_path):
    with pytest.raises(DataError, match="`headrace train digits` writes them"):
        start_tensorboard(PipelinePaths(tmp_path, "digits"), port=0)
