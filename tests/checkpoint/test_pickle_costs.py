"""What a pickle of 1 MB costs at most, whatever it says."""

from pathlib import Path

import pytest

from tests.checkpoint.worst_pickles import pickles
from tests.converter.test_costs import excesses, read_and_convert, read_and_fail


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 9])
def test_no_pickle_costs_more_than_it_may(tmp_path: Path, every: int) -> None:
    read_and_fail(tmp_path)  # what is imported and opened once is no cost of a file
    assert excesses(read_and_convert, tmp_path, pickles(every), 1) == []
