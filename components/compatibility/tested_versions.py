"""Whether an installed version of a library is one that its private names were tested with."""

from headrace.components.errors import ParamsError


def require_tested(library: str, version: str, *, tested: tuple[str, ...]) -> None:
    """Raise ParamsError unless `version` is of one of the `tested` series, such as "2.60" of 2.60.1."""
    if not any(version == series or version.startswith(f"{series}.") for series in tested):
        raise ParamsError(
            f"Headrace was tested with {library} {', '.join(tested)}, found {version}; install a tested version "
            f"(pip install '{library}=={tested[-1]}.*'), or a Headrace that was tested with yours"
        )
