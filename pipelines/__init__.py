"""What touches the outside world: stages, commands, cluster, tracking, storage."""

if __name__ != "headrace.pipelines":
    raise ImportError(f"{__name__}: the package is headrace.pipelines; under two names its classes would exist twice")
