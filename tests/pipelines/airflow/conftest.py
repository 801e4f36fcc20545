"""Airflow makes its home when it is imported: in a folder of the tests, not in the user's home folder.

It is imported as a library, without its settings: they set up Python's logging again, and with that close what
TensorFlow's logging writes to, which may be another test's standard error. The programs that tests start have them.
All of its tables are imported with it: SQLAlchemy sets up MLflow's together with those it knows, which must be whole.
"""

import atexit
import os
import shutil
import tempfile

os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-home-")
atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)
os.environ["_AIRFLOW__AS_LIBRARY"] = "1"

from airflow.models import import_all_models  # noqa: E402

import_all_models()

del os.environ["_AIRFLOW__AS_LIBRARY"]
