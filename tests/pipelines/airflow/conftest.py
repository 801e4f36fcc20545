"""Airflow makes its home when it is imported: in a folder of the tests, not in the person's home folder.

It sets up Python's logging then, too, and closes what TensorFlow's logging writes to, if that is another test's standard
error. So it is imported before any test runs.
"""

import atexit
import os
import shutil
import tempfile

os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-home-")
atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)

import airflow  # noqa: E402, F401
