"""What a workspace's run has made, as a DVC experiment: a commit that git keeps and `dvc exp show` lists.

Made with git alone. `dvc exp save` refuses a project of which one pipeline has not run, as an output is missing. It
also leaves out the metrics of stages that are made from a matrix.
"""

import os
from contextlib import suppress
from pathlib import Path

from headrace.components.errors import ServiceError
from headrace.pipelines.parsed_yaml import read_project_yaml
from headrace.pipelines.project.command_lines import git

_RECORDS = ".headrace/provenance"


def save_experiment(workspace: Path, name: str) -> None:
    """Make the experiment of that name, in the project's git too, what the workspace's files are now.

    It holds the files that git knows, dvc.lock, those outputs in it that DVC leaves to git, and the records of stages:
    the next task may run on another machine.
    """
    reference = experiment_reference(workspace, name)
    index = {"GIT_INDEX_FILE": str(workspace / ".git" / f"experiment-{os.getpid()}"), "GIT_LITERAL_PATHSPECS": "1"}
    try:
        git(workspace, "read-tree", "HEAD", variables=index)
        git(workspace, "add", "--update", variables=index)
        paths = ["dvc.lock", *_outputs(workspace / "dvc.lock")]
        new = git(workspace, "ls-files", "-z", "--others", "--exclude-standard", "--", *paths, variables=index)
        records = git(workspace, "ls-files", "-z", "--others", "--", _RECORDS, variables=index)  # also where ignored
        git(workspace, "update-index", "-z", "--add", "--stdin", variables=index, given=new + records)
        tree = git(workspace, "write-tree", variables=index).strip()
    finally:
        Path(index["GIT_INDEX_FILE"]).unlink(missing_ok=True)
    if tree != _tree(workspace, reference):
        commit = git(workspace, "commit-tree", tree, "-p", "HEAD", "-m", f"Run {name}").strip()
        git(workspace, "update-ref", reference, commit)
    git(workspace, "push", "--quiet", "--force", "origin", f"{reference}:{reference}")


def take_over_experiment(workspace: Path, name: str) -> None:
    """Let the workspace's files be those of the project's experiment of that name and commit, if there is one."""
    reference = experiment_reference(workspace, name)
    if git(workspace, "ls-remote", "origin", reference):
        git(workspace, "fetch", "--quiet", "--force", "origin", f"{reference}:{reference}")
        git(workspace, "restore", "--source", reference, "--", ".")


def experiment_reference(workspace: Path, name: str) -> str:
    """Git reference where DVC keeps the experiment `name` of the workspace's commit."""
    commit = git(workspace, "rev-parse", "HEAD").strip()
    return f"refs/exps/{commit[:2]}/{commit[2:]}/{name}"


def _outputs(lock_file: Path) -> list[str]:
    """The paths of all outputs of the stages that have run."""
    content = read_project_yaml(lock_file) if lock_file.exists() else {}
    return [output["path"] for stage in content.get("stages", {}).values() for output in stage.get("outs", [])]


def _tree(workspace: Path, reference: str) -> str | None:
    with suppress(ServiceError):  # it is not there yet
        return git(workspace, "rev-parse", "--verify", "--quiet", f"{reference}^{{tree}}").strip()
    return None
