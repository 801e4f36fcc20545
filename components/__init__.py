"""Functions on data: no Ray, MLflow, DVC or Airflow, no environment variables."""

if __name__ != "headrace.components":
    raise ImportError(f"{__name__}: the package is headrace.components; under two names its classes would exist twice")
