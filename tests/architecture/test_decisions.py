"""Decisions: short, numbered without a gap, each with its status."""

import re


def test_decisions_are_numbered_short_and_have_a_status(repository):
    files = sorted((repository / "docs" / "decisions").glob("*.md"))
    assert [int(file.name[:4]) for file in files] == list(range(1, len(files) + 1))
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert text.startswith(f"# {int(file.name[:4])}. "), file.name
        assert re.search(r"^Status: (proposed|accepted|superseded)", text, flags=re.MULTILINE), file.name
        assert len(text.splitlines()) <= 40, file.name


def test_what_a_decision_refers_to_is_there(repository):
    folder = repository / "docs" / "decisions"
    for file in folder.glob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)[^)]*\)", file.read_text(encoding="utf-8")):
            assert (folder / target).exists(), f"{file.name}: {target}"


def test_every_file_that_a_page_names_by_its_path_is_there(repository):
    pages = [*(repository / "docs").rglob("*.md"), *repository.glob("[!C]*.md"), repository / "CONTRIBUTING.md"]
    folders = "tests|components|pipelines|infra|bench|dags|docs"
    for page in pages:
        for path in re.findall(rf"`((?:{folders})/[\w/.-]+\.(?:py|md|toml|json))`", page.read_text(encoding="utf-8")):
            assert (repository / path).exists() or (repository / "tests" / path).exists(), f"{page.name}: {path}"
