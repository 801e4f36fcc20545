"""Versions that private names were tested with."""

import pytest

from headrace.components.compatibility.tested_versions import require_tested
from headrace.components.errors import ParamsError


@pytest.mark.parametrize("version", ["2.60", "2.60.0", "2.60.1rc1"])
def test_any_release_of_a_tested_series_passes(version: str) -> None:
    require_tested("ray", version, tested=("2.59", "2.60"))


@pytest.mark.parametrize("version", ["2.6", "2.600", "2.61.0", "3.0"])
def test_another_series_is_refused_with_both_versions_and_the_fix(version: str) -> None:
    with pytest.raises(ParamsError, match=rf"tested with ray 2.60, found {version}; install .*ray==2.60"):
        require_tested("ray", version, tested=("2.60",))
