"""Sheets of images."""

import numpy as np
import pytest

from headrace.components.plots.sheet import sheet, square_columns


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (2, 2), (4, 2), (12, 4), (100, 10), (101, 11)])
def test_a_sheet_is_about_as_high_as_wide(count, columns):
    assert square_columns(count) == columns


def test_a_sheet_has_its_images_in_rows_with_black_between_and_after_them():
    images = np.arange(1, 4).reshape(3, 1, 1, 1) * np.full((3, 2, 2, 1), 50.0)
    found = sheet(images, columns=2)
    assert found.tolist() == [
        [50, 50, 0, 100, 100],
        [50, 50, 0, 100, 100],
        [0, 0, 0, 0, 0],
        [150, 150, 0, 0, 0],
        [150, 150, 0, 0, 0],
    ]


def test_a_sheet_keeps_colours_and_limits_values():
    found = sheet(np.array([[[[300.0, -5.0, 127.6]]]]), columns=1)
    assert found.tolist() == [[[255, 0, 128]]]
