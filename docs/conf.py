"""The documentation site, which `make docs` builds: the Markdown pages of the repository as they are.

The source folder is the repository, not docs/, so that a link from page to page works on the site and there.
Tables of contents are added here, because a directive within a page would show as text where no Sphinx reads it.
"""

from sphinx.application import Sphinx

project = "Headrace"
author = copyright = "The Headrace developers"  # noqa: A001 - Sphinx's name
extensions = ["myst_parser"]
root_doc = "README"
include_patterns = ["*.md", "bench/*.md", "docs/*.md", "docs/**/*.md", "examples/*.md"]
# Folders that are large or not the repository's own: Sphinx would look through them for pages.
exclude_patterns = [".*", "site", "data", "models", "reports", "mlartifacts", "node_modules", "tests", "headrace"]
myst_heading_anchors = 4

html_theme = "furo"
html_title = "Headrace"
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["site.css"]
templates_path = ["templates"]
html_additional_pages = {"index": "index.html"}

linkcheck_timeout = 20
linkcheck_retries = 2
linkcheck_ignore = [
    r"https?://(127\.0\.0\.1|localhost|[a-z]+\.example\.org)",  # addresses of examples
    r"https://github\.com/.*/(compare|releases)/",
]

_CONTENTS = {
    "README": {
        "Use it": [
            "docs/your-data",
            "docs/models",
            "docs/own-code",
            "docs/library",
            "docs/projects",
            "docs/pipelines",
            "docs/tuning",
            "docs/operations",
            "docs/report",
            "docs/gate",
            "docs/lineage",
            "docs/serving",
            "docs/monitoring",
            "docs/data-safety",
        ],
        "On servers": [
            "docs/cluster",
            "docs/deploy",
            "docs/capacity",
            "docs/airflow",
            "docs/multi-worker",
            "docs/reliability",
            "docs/security",
            "docs/stack",
            "docs/observability",
        ],
        "Reference": [
            "docs/commands",
            "docs/params",
            "docs/settings",
            "docs/api",
            "docs/results",
            "bench/README",
            "docs/licences",
        ],
        "Learn": ["docs/tutorial/en/README", "docs/tutorial/ko/README", "examples/README"],
        "Work on it": [
            "docs/architecture",
            "docs/decisions",
            "CONTRIBUTING",
            "CHANGELOG",
            "SECURITY",
            "CODE_OF_CONDUCT",
        ],
    },
    "docs/decisions": {"": ["docs/decisions/*"]},
    "docs/tutorial/en/README": {"": ["docs/tutorial/en/*"]},
    "docs/tutorial/ko/README": {"": ["docs/tutorial/ko/*"]},
}


def _add_contents(_app: Sphinx, name: str, text: list[str]) -> None:
    for caption, pages in _CONTENTS.get(name, {}).items():
        lines = [
            "",
            "",
            "```{toctree}",
            ":hidden:",
            ":glob:",
            f":caption: {caption}",
            "",
            *(f"/{one}" for one in pages),
        ]
        text[0] += "\n".join([*(line for line in lines if line != ":caption: "), "```", ""])


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx's entry point."""
    app.connect("source-read", _add_contents)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
