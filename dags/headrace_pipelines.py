"""Airflow DAGs of this project, made from params.yaml and dvc.yaml: `headrace_PIPELINE` for each pipeline."""

from pathlib import Path

from headrace.pipelines.airflow.dags import project_dags

project_dags(Path(__file__).resolve().parents[1])
