"""What a register task reports to Airflow of champions."""

from types import SimpleNamespace

import pytest

from headrace.pipelines.artifacts.artifact import write_artifact
from headrace.pipelines.artifacts.registration import RegistrationFile

RUN = {"mlflow_run_id": "a1"}
DIGESTS = ("weights_digest", "model_sha256", "model_md5", "metrics_sha256", "outcomes_sha256", "ids_digest")
REGISTRATION = RegistrationFile(
    model="digits",
    version=2,
    alias=None,
    decision="promoted",
    reasons=("there was no champion to beat",),
    metrics={"accuracy": 0.9},
    intervals={},
    decisions_on_these_rows=1,
    evaluation_version=2,
    tracking_uri_kind="sqlite",
    **dict.fromkeys(DIGESTS, "d"),
    **RUN,
)


@pytest.mark.parametrize(
    ("alias", "published", "count"),
    [
        ("champion", [], 1),
        ("champion", [{"version": 1, **RUN}], 1),  # another one
        ("champion", [{"version": 2, **RUN}, {"version": 3, **RUN}], 0),  # registered again
        ("champion", [{"version": 2, "mlflow_run_id": "b2"}], 1),  # of a registry that there was before
        (None, [], 0),
    ],
)
def test_a_champion_is_published_once(tmp_path, alias, published, count):
    from airflow.sdk.execution_time.context import OutletEventAccessors

    from headrace.pipelines.airflow.assets import champion_of, inlets_of, outlets_of, publish_events
    from headrace.pipelines.paths import PipelinePaths

    file = PipelinePaths(tmp_path, "digits").registration
    file.parent.mkdir(parents=True)
    write_artifact(file, REGISTRATION.model_copy(update={"alias": alias}))
    [inlet], [outlet] = inlets_of("register", "digits"), outlets_of("register", "digits")
    outlet_events = OutletEventAccessors()
    context = {
        "inlet_events": {inlet: [SimpleNamespace(extra=extra) for extra in published]},
        "outlet_events": outlet_events,
    }
    publish_events(context, tmp_path, stage="register", pipeline="digits", kept={"commit": "c"})
    events = outlet_events[outlet].asset_alias_events
    assert [event.dest_asset_key.name for event in events] == [champion_of("digits").name] * count
    assert all(event.extra["version"] == 2 and event.extra["commit"] == "c" for event in events)
