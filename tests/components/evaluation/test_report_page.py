"""The report as a browser and a screen reader get it: whole, small, readable on a phone."""

import base64
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from headrace.components.evaluation.report import ORDER, render
from headrace.components.evaluation.report_parts.attributions import Attribution, Attributions, Word, heat_map
from headrace.components.evaluation.report_parts.decision import ComparedMetric, DecisionPart, with_decision

_CONTRAST = """
(() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  const rgba = (color) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].map((v, i) => i < 3 ? v : v / 255); };
  const over = (top, under) => top.slice(0, 3).map((v, i) => v * top[3] + under[i] * (1 - top[3]));
  const ground = (element) => {
    if (!element) return [255, 255, 255];
    const color = rgba(getComputedStyle(element).backgroundColor);
    return color[3] === 1 ? color : over(color, ground(element.parentElement));
  };
  const linear = (v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = (color) => color.slice(0, 3).map(v => linear(v / 255))
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (walker.nextNode()) {
    const text = walker.currentNode.data.trim(), element = walker.currentNode.parentElement;
    if (!text || element.closest("svg, title, style, sup")) continue;
    const under = ground(element), color = over(rgba(getComputedStyle(element).color), under);
    const [low, high] = [light(under), light(color)].sort((a, b) => a - b);
    const ratio = (high + .05) / (low + .05);
    if (ratio < 4.5) found.push(`${text}: ${ratio.toFixed(2)}`);
  }
  return found;
})()
"""


DECISION = DecisionPart(
    version=3,
    is_champion=True,
    reasons=["accuracy 0.82 meets its threshold", "accuracy +0.012: shown to be <b>better</b> than the champion"],
    champion=2,
    rows=360,
    metrics=[ComparedMetric("accuracy", "accuracy", 0.82, 0.808, 0.012, 0.004, 0.028)],
    slices=[ComparedMetric("town Bern", "accuracy", 0.8, 0.7, 0.1, 0.05, 0.15)],
)


@pytest.fixture(params=["table", "images", "number", "decided"], scope="module")
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def report(request, kind, make_report):
    """Of attributions, which need a network, the page has made-up ones."""
    made = make_report(request.getfixturevalue("table" if kind == "decided" else kind))
    match kind:
        case "images":
            seen, adds = np.full((9, 9), 90, np.uint8), np.linspace(-1, 1, 81).reshape(9, 9)
            one = Attribution(
                "top", "middle", 0.7, seen, heat_map(seen, adds), (), "for middle speak pixels mostly right"
            )
            return replace(made, made=[*made.made, Attributions("picture", (one, one), of_words=False, joined=False)])
        case "decided":
            words = tuple(Word(f"word{place}", place / 10, abs(place) / 10) for place in range(-10, 11))
            two = Attribution("yes", "no", 0.6, None, None, words, "for: word10 (+1.00); against: word-10 (-1.00)")
            return replace(made, made=[*made.made, Attributions("text", (two,), of_words=True, joined=False)])
    return made


@pytest.fixture(scope="module")
def page(report, kind, kept_pages: Path | None) -> str:
    html = render(report)
    html = with_decision(html, DECISION) if kind == "decided" else html
    if kept_pages is not None:
        (kept_pages / f"{kind}.html").write_text(html, encoding="utf-8")
    return html


def test_parts_are_those_that_apply_in_one_order(report, kind):
    names = [part.name for part in report.parts]
    assert names == [name for name in ORDER if name in names]
    expected = {"measured", "baselines", "learning_curves", "data", "drawn", "network", "origin", "worst"}
    more = {
        "table": {"thresholds", "calibration", "slices", "importance"},
        "images": {"calibration", "attributions"},
        "number": {"slices", "importance"},
    }
    more["decided"] = more["table"] | {"attributions"}
    assert set(names) == expected | more[kind]


def test_the_decision_stands_in_front_of_a_finished_page(table, make_report):
    page = render(make_report(table))
    decided = with_decision(page, DECISION)
    assert "Version 3 is champion." in decided
    assert re.search(r"Accuracy</th><td>82.00%</td><td>80.80%</td><td>\+0.012</td><td>\+0.004 to \+0.028<", decided)
    assert re.search(r"town Bern</th><td>80.00%</td>", decided)
    assert "&lt;b&gt;better" in decided
    assert decided.index('<section id="decision"') < decided.index('<section id="measured"')
    assert "Champion or not" not in page
    assert "Version 3 is champion." in with_decision("<header>of an older Headrace</header>\n", DECISION)
    alone = replace(DECISION, is_champion=False, champion=None, rows=0, metrics=[], slices=[])
    assert "Version 3 is registered, and not champion." in with_decision(page, alone)
    assert "Challenger" not in with_decision(page, alone)


def test_the_page_is_small_and_makes_no_request(page, browser):
    assert len(page.encode()) < 2_000_000
    browser.open(page, width=1200)
    assert [url for url in browser.requests if not url.startswith(("data:", "about:"))] == []
    sources = browser.evaluate("[...document.querySelectorAll('[src], link, script, iframe, object')].map(e => e.src)")
    assert all(source.startswith("data:image/png") for source in sources)


@pytest.mark.parametrize("width", [360, 1200])
def test_only_wide_tables_scroll_and_not_the_page(page, kind, browser, kept_pages, width):
    browser.open(page, width=width)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    cut = "[...document.querySelectorAll('.card:not(.scroll)')].filter(e => e.scrollWidth > e.clientWidth + 1)"
    assert browser.evaluate(f"{cut}.map(e => e.className + e.textContent.slice(0, 60))") == []
    if kept_pages is not None:
        height = browser.evaluate("document.documentElement.scrollHeight")
        browser.open(page, width=width, height=min(height, 14_000))
        picture = browser.call("Page.captureScreenshot", format="png")["data"]
        (kept_pages / f"{kind}-{width}.png").write_bytes(base64.b64decode(picture))


def test_charts_and_titles_can_be_read_on_a_phone(page, browser):
    browser.open(page, width=360)
    texts = "[...document.querySelectorAll('figure.card > svg text')]"
    assert browser.evaluate(f"{texts}.filter(e => e.getBoundingClientRect().height < 5).map(e => e.textContent)") == []
    curves = "[...document.querySelectorAll('figure[class~=learning_curves] > svg text')]"
    heights = browser.evaluate(f"{curves}.map(e => e.getBoundingClientRect().height)")
    assert min(heights) > 8  # two charts beside each other, which scroll
    titles = "[...document.querySelectorAll('.scroll caption:not(.unseen)')]"
    cut = "e.getBoundingClientRect().width > e.closest('.scroll').clientWidth"
    assert browser.evaluate(f"{titles}.filter(e => {cut}).map(e => e.textContent)") == []


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_enough_contrast(page, browser, dark):
    """4.5 to 1, as WCAG 2.2 requires of text of this size (1.4.3)."""
    browser.open(page, width=1200, dark=dark)
    assert browser.evaluate(_CONTRAST) == []


def test_headings_go_down_a_level_at_a_time_and_the_navigation_names_them(page, browser):
    browser.open(page, width=1200)
    levels = browser.evaluate("[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(e => +e.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= before + 1 for before, later in pairwise(levels))
    links = browser.evaluate("[...document.querySelectorAll('nav a')].map(e => [e.hash.slice(1), e.textContent])")
    found = browser.evaluate(
        "[...document.querySelectorAll('section')].map(e => [e.id, e.querySelector('h2').textContent])"
    )
    assert links == found


def test_what_a_screen_reader_gets_has_names(page, browser):
    browser.open(page, width=1200)
    ids = browser.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    tables = "[...document.querySelectorAll('table')]"
    unnamed = f"{tables}.filter(e => !e.caption && !e.closest('[role=region][aria-label]'))"
    assert browser.evaluate(f"{unnamed}.map(e => e.textContent.slice(0, 80))") == []
    heads = "[...document.querySelectorAll('th')].filter(e => !e.scope || !e.textContent.trim())"
    assert browser.evaluate(f"{heads}.map(e => e.outerHTML)") == []
    assert browser.evaluate("[...document.querySelectorAll('img')].filter(e => !e.alt).length") == 0
    kept_from_keyboard = (
        "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth && e.tabIndex < 0)"
    )
    assert browser.evaluate(f"{kept_from_keyboard}.map(e => e.textContent.slice(0, 60))") == []
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    named = [
        node for node in nodes if node.get("role", {}).get("value") in ("image", "link", "region", "figure", "table")
    ]
    assert named
    assert [node for node in named if not node.get("ignored") and not node.get("name", {}).get("value")] == []


def test_charts_are_also_tables(page, kind, browser):
    browser.open(page, width=1200)
    of_kind = {
        "table": ["ROC curve", "Precision and recall", "Calibration"],
        "images": ["ROC curve", "Precision and recall", "Calibration"],
        "number": ["Share of rows within an error"],
    }
    tables = browser.evaluate("[...document.querySelectorAll('details caption')].map(e => e.textContent)")
    assert tables == [*of_kind["table" if kind == "decided" else kind], "Learning curves"]
