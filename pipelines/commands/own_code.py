"""`headrace own-code`: what DVC runs before the stages."""

from headrace.pipelines.paths import ProjectPaths, project_root


def own_code() -> None:
    """Write digests of the project's own code for DVC, which runs this before its stages."""
    from headrace.pipelines.project.code_digests import write_digests

    write_digests(ProjectPaths(project_root()))
