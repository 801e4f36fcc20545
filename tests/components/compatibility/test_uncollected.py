"""Imports without searches for garbage."""

import subprocess
import sys

PROGRAM = """
import gc
searches = []
gc.callbacks.append(lambda phase, info: phase == "start" and searches.append(info["generation"]))
before = gc.get_freeze_count()
from headrace.components.compatibility.keras_import import import_keras
searches.clear()
import_keras()
print(len(searches), gc.get_freeze_count() - before > 100_000, gc.isenabled())
"""


def test_keras_is_imported_without_a_search_and_is_in_none_later() -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=True)
    assert ended.stdout.split() == ["0", "True", "True"]
