"""Whether the model became champion, why, and how it compares with the one before.

It is known when the model is registered, after the report: `with_decision` puts it in front of the finished page.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from headrace.components.evaluation.page_templates import environment


@dataclass(frozen=True)
class ComparedMetric:
    """A metric of champion and challenger on the same rows, and the 95 % interval of their difference.

    `name` is the metric's or, of a part of the rows, that of the part.
    """

    name: str
    metric: str
    challenger: float
    champion: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class DecisionPart:
    """The decision of register; `metrics` is empty where there was no other champion, or no row to compare by."""

    name: ClassVar[str] = "decision"
    title: ClassVar[str] = "Champion or not"

    version: int
    is_champion: bool
    reasons: Sequence[str]
    champion: int | None
    rows: int
    metrics: Sequence[ComparedMetric]
    slices: Sequence[ComparedMetric] = ()

    @property
    def verdict(self) -> str:
        """What was decided, in a sentence."""
        if self.is_champion:
            return f"Version {self.version} is champion."
        return f"Version {self.version} is registered, and not champion."


def with_decision(page: str, part: DecisionPart) -> str:
    """A report page with the decision in front of its other parts. A page of an older Headrace will do."""
    section = environment().get_template("decision_section.html.jinja").render(part=part)
    link = f'<li><a href="#{part.name}">{part.title}</a></li>\n'
    navigation = '<nav aria-label="Parts of this page"><ul>\n'
    # Our own tags, and the only ones: every text on the page is escaped.
    before = next(tag for tag in ("</nav>\n", "</header>\n") if tag in page)
    return page.replace(before, f"{before}{section}", 1).replace(navigation, navigation + link, 1)
