"""What is said of an error beside its largest value."""

import numpy as np
import pytest

from ppls.parity import distribution as module
from ppls.parity.distribution import distribution, heatmap


def test_the_quantiles_are_errors_that_so_many_elements_do_not_exceed(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 64)
    errors = np.random.default_rng(0).permutation(np.arange(1.0, 1001.0))
    found = distribution(np.zeros(1000), errors)
    assert found.quantiles == {0.5: 500.0, 0.9: 900.0, 0.99: 990.0, 0.999: 999.0}


def test_of_one_element_every_quantile_is_its_error():
    assert set(distribution(np.ones(1), np.full(1, 1.5)).quantiles.values()) == {0.5}


def test_the_cosine_sees_no_scale_and_the_signal_to_noise_ratio_does():
    reference = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    found = distribution(reference, reference * np.float32(1.1))
    assert found.cosine == pytest.approx(1.0, abs=1e-9)
    extent, noise = np.ptp(reference), np.sqrt(np.mean((0.1 * reference.astype(np.float64)) ** 2))
    assert found.psnr == pytest.approx(20 * np.log10(extent / noise), abs=1e-3)
    assert distribution(reference, -reference).cosine == pytest.approx(-1.0)


def test_equal_or_empty_of_signal_there_is_no_ratio():
    assert distribution(np.ones(4), np.ones(4)).psnr is None
    assert distribution(np.arange(4.0), np.arange(4.0)).psnr is None
    assert distribution(np.zeros(4), np.ones(4)).cosine is None


@pytest.mark.parametrize("shape", [(1, 2, 5, 7), (2, 3, 200, 130), (1, 1, 64, 64)])
def test_a_heatmap_shows_where_the_largest_error_lies(shape):
    reference = np.zeros(shape, np.float32)
    candidate = reference.copy()
    candidate[-1, -1, 3, 6] = -2.0
    found = heatmap(reference, candidate)
    assert (found.row, found.column) == (3, 6)
    assert max(found.cells.shape) <= 64
    height, width = found.cells.shape
    cell = 3 * height // shape[2], 6 * width // shape[3]
    assert found.cells[cell] == 2.0
    assert np.count_nonzero(found.cells) == 1


def test_what_is_no_map_has_no_heatmap():
    assert heatmap(np.zeros((2, 3)), np.zeros((2, 3))) is None
    assert heatmap(np.zeros((1, 2, 3, 4)), np.zeros((1, 2, 4, 3))) is None
