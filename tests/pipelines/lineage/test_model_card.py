"""The card of a version: what it says, and that text of other people stays text."""

import json

import pytest
import yaml

from headrace.pipelines.artifacts.provenance_record import Provenance, read_provenance
from headrace.pipelines.lineage.lineage_pages import rendered
from headrace.pipelines.lineage.model_card import card_of
from headrace.pipelines.lineage.recording import gather
from headrace.pipelines.params import load_pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.tracking.registry import Version

REASONS = ["loss 0.2 meets its threshold", "<b>bold</b> | cell"]
TAGS = {
    "metric.loss": "0.25",
    "interval.loss": "0.125 0.5",
    "metric.r2": "0.98",
    "weights_digest": "f" * 64,
    "registration": json.dumps({"reasons": REASONS}),
}


@pytest.fixture
def provenance(empty_project) -> Provenance:
    root = empty_project.root
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["line"]["description"] = "Prices <script>alert(1)</script> | of *houses*"
    params["line"]["ingest"]["features"]["x"] |= {"minimum": 0, "maximum": 500}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    pipeline = load_pipeline(root / "params.yaml", "line")
    return read_provenance(gather("split", pipeline, PipelinePaths(root, "line")))


def test_it_says_how_good_the_model_is_and_what_it_takes(provenance):
    card = card_of("line", Version(3, "run", TAGS), provenance)
    assert card.title == "line, version 3"
    assert card.metrics == [("loss", "0.25", "0.125 to 0.5"), ("r2", "0.98", "")]
    assert card.decision == REASONS
    assert "Rows outside of these ranges were refused in training: x from 0.0 to 500.0." in card.uses
    assert card.origin["Commit"].endswith("with changes to it, which are kept beside this card")


def test_text_of_others_stays_text(provenance):
    card = card_of("line", Version(3, "run", TAGS), provenance)
    page, markdown = rendered("model_card.html", card=card), rendered("model_card.md", card=card)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert r"\<script\>" in markdown
    assert r"\<b\>bold\</b\> \| cell" in markdown
    assert r"of \*houses\*" in markdown


def test_a_page_needs_nothing_but_itself(provenance):
    page = rendered("model_card.html", card=card_of("line", Version(3, "run", TAGS), provenance))
    assert [word for word in ("src=", "href=", "@import", "url(") if word in page] == []
    assert "default-src 'none'" in page


def test_a_version_of_few_tags_has_a_card(provenance):
    card = card_of("line", Version(3, "run", {"registration": "not JSON"}), provenance)
    assert (card.metrics, card.decision) == ([], [])
    assert rendered("model_card.md", card=card).startswith("# line, version 3\n")
