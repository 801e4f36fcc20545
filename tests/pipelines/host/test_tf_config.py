"""TF_CONFIG as TFJob and `headrace launch` set it."""

import json

import pytest

from headrace.components.errors import ParamsError
from headrace.pipelines.host.tf_config import group_member

SECRET = "0123456789abcdef" * 2
HOSTS = ["train-worker-0.default.svc:2222", "[::1]:2223"]


@pytest.fixture
def given(monkeypatch):
    def give(content: object, secret: str | None = SECRET) -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        monkeypatch.setenv("TF_CONFIG", text)
        if secret is not None:
            monkeypatch.setenv("HEADRACE_GROUP_SECRET", secret)

    return give


def test_a_worker_has_its_rank_and_all_addresses(given):
    given({"cluster": {"worker": HOSTS}, "task": {"type": "worker", "index": 1}, "environment": "cloud"})

    member = group_member()

    assert member == (1, [("train-worker-0.default.svc", 2222), ("::1", 2223)], SECRET.encode())


@pytest.mark.parametrize(("kind", "index", "rank"), [("chief", 0, 0), ("worker", 0, 1), ("worker", 1, 2)])
def test_a_chief_is_the_first(given, kind, index, rank):
    given({"cluster": {"worker": HOSTS, "chief": ["c:1"]}, "task": {"type": kind, "index": index}})

    assert group_member().rank == rank
    assert group_member().addresses[0] == ("c", 1)


@pytest.mark.parametrize("content", ["", "{}", {"cluster": {"worker": HOSTS[:1]}, "task": {"type": "worker"}}])
def test_one_process_alone_is_no_group(given, content):
    given(content, secret=None)

    assert group_member() is None


@pytest.mark.parametrize(
    ("content", "secret", "said"),
    [
        ("{", SECRET, "expected {"),
        ("[]", SECRET, "expected {"),
        ({"cluster": {"worker": ["nowhere", "b:2"]}}, SECRET, "expected {"),
        (
            {"cluster": {"worker": HOSTS, "ps": ["p:1"]}, "task": {"type": "ps", "index": 0}},
            SECRET,
            "parameter servers",
        ),
        ({"cluster": {"worker": HOSTS}, "task": {"type": "evaluator", "index": 0}}, SECRET, "evaluator"),
        ({"cluster": {"worker": HOSTS}, "task": {"type": "worker", "index": 2}}, SECRET, "not one of its 2 addresses"),
        ({"cluster": {"worker": HOSTS}, "task": {"type": "worker", "index": 0}}, None, "HEADRACE_GROUP_SECRET has 0"),
        ({"cluster": {"worker": HOSTS}, "task": {"type": "worker", "index": 0}}, "short", "has 5 characters"),
    ],
)
def test_what_can_not_be_a_group_is_refused(given, monkeypatch, content, secret, said):
    monkeypatch.delenv("HEADRACE_GROUP_SECRET", raising=False)
    given(content, secret=secret)

    with pytest.raises(ParamsError) as refused:
        group_member()

    assert said in str(refused.value)
    assert "short" not in str(refused.value)
