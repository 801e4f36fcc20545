"""Airflow makes its home when it is imported: in a folder of the tests, not in the person's home folder."""

import os
import tempfile

os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-home-")
