"""The card of a registered version, Markdown and HTML: what it is for, from what it was made, how good it is."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.components.files.atomic import replace_file
from headrace.pipelines.artifacts.provenance_record import Provenance, counted
from headrace.pipelines.lineage.lineage_pages import rendered
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.project.dvc_records import outputs
from headrace.pipelines.tracking.registry import Version
from headrace.pipelines.tracking.version_files import describe_version

_PACKAGES = ("python", "tensorflow", "keras", "numpy", "polars", "pyarrow")


@dataclass(frozen=True)
class Card:
    """What a card says: facts by their names, each a text."""

    title: str
    description: str
    decision: list[str]
    metrics: list[tuple[str, str, str]]  # name, value, interval
    measured: dict[str, str]
    data: dict[str, str]
    training: dict[str, str]
    origin: dict[str, str]
    uses: list[str]


def write_cards(paths: PipelinePaths, version: Version, provenance: Provenance) -> list[Path]:
    """Write the card in both forms, set the Markdown as the version's description, and return the files."""
    card = card_of(paths.pipeline, version, provenance)
    texts = {name: rendered(name, card=card) for name in ("model_card.md", "model_card.html")}
    for name, text in texts.items():
        with replace_file(paths.provenance / name) as file:
            file.write_text(text, encoding="utf-8")
    describe_version(paths.root, paths.pipeline, version, texts["model_card.md"])
    return [paths.provenance / name for name in texts]


def card_of(model: str, version: Version, provenance: Provenance) -> Card:
    """The card of a version, from its tags and its provenance."""
    tags, section = version.tags, provenance.section
    return Card(
        title=f"{model}, version {version.number}",
        description=str(section["description"]),
        decision=_decision(tags),
        metrics=_metrics(version),
        measured=_known(
            {
                "Rows": tags.get("measured_on", "the test split, held out by the ids of rows"),
                "Digest of the rows": tags.get("ids_digest", "")[:16],
                "Version of evaluation": tags.get("evaluation_version", ""),
            }
        ),
        data=_data(provenance),
        training=_training(provenance),
        origin=_origin(version, provenance),
        uses=_uses(section),
    )


def _decision(tags: Mapping[str, str]) -> list[str]:
    try:
        registration = json.loads(tags.get("registration", "{}"))
    except ValueError:
        return []
    return [str(reason) for reason in registration.get("reasons", [])]


def _metrics(version: Version) -> list[tuple[str, str, str]]:
    intervals = {name: f"{low:.4g} to {high:.4g}" for name, (low, high) in version.intervals.items()}
    return [
        (name.replace("_", " "), f"{value:.4g}", intervals.get(name, ""))
        for name, value in sorted(version.metrics.items())
    ]


def _data(provenance: Provenance) -> dict[str, str]:
    ingest, digests = provenance.section["ingest"], outputs(provenance.locked)
    files = provenance.raw_files
    size = sum(file.bytes for file in files)
    known = {
        "Source": f"{ingest['source']['kind']}, {counted(len(files), 'file')}, {size:,} bytes"
        if files
        else ingest["source"]["kind"],
        "Raw files": ", ".join(f"{file.name} (SHA-256 {file.sha256[:12]})" for file in files[:5]),
        "Features": ", ".join(f"{name} ({one['type']})" for name, one in ingest["features"].items()),
        "Label": f"{ingest['label'].get('name', '')} ({ingest['label']['type']})".strip(),
        "Splits": digests.get(f"data/{provenance.pipeline}/splits", "")[:16],
    }
    record = provenance.records.get("ingest")
    if record and record.interval:
        known["Data interval"] = f"{record.interval.get('start')} to {record.interval.get('end')}"
    return _known(known)


def _training(provenance: Provenance) -> dict[str, str]:
    train, record = provenance.section["train"], provenance.records.get("train")
    known = {
        "Optimizer": train["optimizer"]["kind"] if isinstance(train.get("optimizer"), dict) else "",
        "Epochs": str(train["epochs"]),
        "Batch": str(train["global_batch_size"]),
        "Seed": str(train["seed"]),
        "Started from": str(train.get("start_from") or ""),
    }
    if record:
        machine = record.machine
        processors = [machine.processor, f"{machine.cores} cores", *machine.gpus]
        known |= {
            "Workers": record.described_groups,
            "Machine": ", ".join(processors),
            "Versions": ", ".join(f"{name} {record.versions[name]}" for name in _PACKAGES if name in record.versions),
        }
    return _known(known)


def _origin(version: Version, provenance: Provenance) -> dict[str, str]:
    tree = provenance.tree
    record = provenance.records.get("train")
    changes = " with changes to it, which are kept beside this card" if provenance.changes else ""
    return _known(
        {
            "Commit": f"{tree.commit}{changes}" if tree.commit else "none",
            "Branch": " of ".join(filter(None, [tree.branch, tree.remote])),
            "MLflow run": version.run_id,
            "Ray job": record.ray_job or "" if record else "",
            "DAG run": record.dag_run or "" if record else "",
            "By": record.user if record else "",
            "Trained": f"{record.ended_at:%Y-%m-%d %H:%M} UTC" if record else "",
            "Weights": version.tags.get("weights_digest", "")[:16],
            "Identity of the training": version.tags.get("identity_digest", "")[:16],
        }
    )


def _uses(section: dict[str, Any]) -> list[str]:
    """What the checks of ingest and the gate promise of rows like those that the model was made from."""
    features = {name: section["ingest"]["features"][name] for name in section["normalize"]["transforms"]}
    bounded = [
        f"{name} from {one['minimum']} to {one['maximum']}"
        for name, one in features.items()
        if one.get("minimum") is not None and one.get("maximum") is not None
    ]
    found = [f"It takes {', '.join(features)}, as raw values: the transforms are within the model."]
    if bounded:
        found.append(f"Rows outside of these ranges were refused in training: {'; '.join(bounded)}.")
    return found


def _known(facts: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in facts.items() if text}
