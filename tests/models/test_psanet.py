"""PSANet: what its upstream code computed, and its attention pixel by pixel."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import ppls
from ppls.errors import ConversionError, Error
from ppls.models.psanet import PointwiseSpatialAttention, spread
from tests.checkpoints import save, state_of
from tests.golden import golden_checkpoint, worst_scaled_error


@pytest.fixture(scope="module")
def golden(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The checkpoint, and what PSANet_paddle computed with it."""
    checkpoint = tmp_path_factory.mktemp("golden") / "psanet.pdparams"
    return checkpoint, golden_checkpoint(shared / "golden", "psanet_resnet50", checkpoint)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_computes_what_psanet_paddle_computed(golden: tuple[Path, Any], dtype: str) -> None:
    checkpoint, record = golden
    assert worst_scaled_error(checkpoint, record, dtype) <= 1e-5


@pytest.mark.parametrize(("size", "window"), [((4, 5), (3, 3)), ((3, 7), (5, 3)), ((5, 4), (9, 11)), ((1, 1), (3, 1))])
def test_the_weight_from_pixel_to_pixel_is_that_of_their_offset(size: tuple[int, int], window: tuple[int, int]) -> None:
    mask = torch.arange(1.0, 1 + 2 * window[0] * window[1] * size[0] * size[1])
    mask = mask.reshape(2, window[0] * window[1], *size)
    found = spread(mask, window)
    height, width = size
    for y, x, v, u in itertools.product(range(height), range(width), range(height), range(width)):
        row, column = v - y + window[0] // 2, u - x + window[1] // 2
        inside = 0 <= row < window[0] and 0 <= column < window[1]
        expected = mask[:, row * window[1] + column, y, x] if inside else torch.zeros(2)
        assert torch.equal(found[:, y * width + x, v * width + u], expected)


@pytest.mark.parametrize("psa_type", [0, 1])
def test_collecting_sums_over_where_weights_come_from_and_distributing_over_where_they_go(psa_type: int) -> None:
    module = attention(psa_type, softmax=False)
    (branch,) = module.branches
    image = torch.randn(1, 6, 5, 4)
    with torch.no_grad():
        found = branch(image, (5, 4))
        features = branch.reduce(image).flatten(2)
        weights = spread(branch.mask(branch.hidden(branch.reduce(image))), (3, 5))[0]  # from pixel p to pixel q
        pixels = range(20)
        if psa_type == 0:  # pixel q collects: its own weight towards p, of what is at p
            expected = [sum(weights[q, p] * features[0, :, p] for p in pixels) for q in pixels]
        else:  # pixel p gives to q, with p's weight towards q
            expected = [sum(weights[p, q] * features[0, :, p] for p in pixels) for q in pixels]
    assert torch.allclose(found.flatten(2)[0].T, torch.stack(expected), atol=1e-5)


def test_weights_on_one_pixel_sum_to_one_with_those_out_of_the_window_as_zero_logits() -> None:
    module = attention(1, softmax=True)
    nn.init.zeros_(module.branches[0].mask.weight)  # every logit 0, so that every weight is 1 / 20
    image = torch.randn(1, 6, 5, 4)
    with torch.no_grad():
        features = module.branches[0].reduce(image)
        found = module.branches[0](image, (5, 4))
    assert torch.allclose(found, features.mean((2, 3), keepdim=True).expand_as(found), atol=1e-6)


def test_a_window_of_even_size_and_an_unknown_type_are_refused() -> None:
    with pytest.raises(Error, match="must be odd"):
        PointwiseSpatialAttention(6, 4, 2, 2, (58, 59), 1.0, True, "bilinear")
    with pytest.raises(Error, match="psa_type is 3"):
        PointwiseSpatialAttention(6, 4, 3, 2, (59, 59), 1.0, True, "bilinear")


def test_one_direction_must_be_named_since_no_tensor_tells_them_apart(tmp_path: Path) -> None:
    both = state_of("PSANet", "PSANet-R50")
    one = {name: array for name, array in both.items() if "_p." not in name}
    one["psa.proj._conv.weight"] = np.zeros((2048, 512, 1, 1), "f")
    source = save(tmp_path / "psanet.pdparams", one)
    with pytest.raises(ConversionError, match=r"psa_type: .*give it with --set psa_type=VALUE"):
        ppls.convert(source)
    for direction in (0, 1):
        assert ppls.convert(source, overrides={"psa_type": direction}).config["psa_type"] == direction
    with pytest.raises(ConversionError, match="psa_type: the tensors say 2, --set psa_type says 0"):
        ppls.convert(save(tmp_path / "both.pdparams", both), overrides={"psa_type": 0})


def test_the_window_is_a_square_unless_the_user_says_otherwise(tmp_path: Path) -> None:
    state = state_of("PSANet", "PSANet-R50")
    for name in ("psa.attention.1.weight", "psa.attention_p.1.weight"):
        state[name] = np.zeros((15 * 7, 512, 1, 1), "f")
    source = save(tmp_path / "psanet.pdparams", state)
    with pytest.raises(ConversionError, match=r"mask_h: psa\.attention\.1\.weight has 105 channels, which is no"):
        ppls.convert(source)
    config = ppls.convert(source, overrides={"mask_h": 15, "mask_w": 7}).config
    assert (config["mask_h"], config["mask_w"]) == (15, 7)


def test_no_loop_runs_over_pixels() -> None:
    counts = []
    for size in [(5, 6), (20, 30)]:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            spread(torch.zeros(1, 15, *size), (3, 5))
        counts.append(sum(event.count for event in profile.key_averages()))
    assert counts[0] == counts[1]


PEAK = """
import re, torch
from ppls.models.psanet import PointwiseSpatialAttention
with torch.no_grad():
    attention = PointwiseSpatialAttention(2048, 512, 2, {shrink}, (59, 59), 1.0, True, "bilinear").eval()
    attention(torch.zeros(1, 2048, 64, 128))
print(1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]))
"""


@pytest.mark.parametrize("shrink", [2, pytest.param(1, marks=pytest.mark.slow)])
def test_at_1024x512_the_attention_fits_in_4_gib(shrink: int) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak memory of a process is read from Linux's /proc")
    done = subprocess.run(
        [sys.executable, "-c", PEAK.format(shrink=shrink)], capture_output=True, text=True, check=True
    )
    assert 2**28 < int(done.stdout) < 4 * 2**30


def attention(psa_type: int, *, softmax: bool) -> PointwiseSpatialAttention:
    torch.manual_seed(0)
    return PointwiseSpatialAttention(6, 4, psa_type, 1, (3, 5), 1.0, softmax, "bilinear").eval()
