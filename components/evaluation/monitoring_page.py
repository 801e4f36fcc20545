"""What monitoring found, as one page that needs nothing but itself."""

from collections.abc import Mapping, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from headrace.components.evaluation.monitoring import Finding

_KINDS = {"metrics": "Metrics", "predictions": "Predictions", "labels": "Labels", "inputs": "Inputs"}


def render_monitoring(
    title: str, *, version: int, summary: str, facts: Mapping[str, str], findings: Sequence[Finding]
) -> str:
    """Return the page as HTML; every text is escaped."""
    kinds = {shown: [one for one in findings if one.kind == kind] for kind, shown in _KINDS.items()}
    loader = PackageLoader("headrace.components.evaluation", ".")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    template = environment.get_template("monitoring.html.jinja")
    found = {kind: some for kind, some in kinds.items() if some}
    return template.render(title=title, version=version, summary=summary, facts=facts, kinds=found)
