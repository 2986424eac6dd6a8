"""CCNet: what a pixel sees, and the options that no published config uses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ppls.models.ccnet import CrissCrossAttention
from tests.architectures import run_live
from tests.options import Case, build, check

CASES = {
    "thrice": Case({"recurrence": 3, "align_corners": True}, {"recurrence": 3, "align_corners": True}, (2, 3, 65, 97)),
    "alone": Case({"enable_auxiliary_loss": False}, {"recurrence": 1}),
}


@pytest.fixture(scope="module", params=run_live(["CCNet"]))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(request.param, CASES, tmp_path_factory.mktemp("ccnet"))


@pytest.mark.parametrize("name", CASES)
def test_each_option_computes_what_paddleseg_computes(folder: Path, name: str) -> None:
    check(folder, name, CASES[name])


def test_a_pixel_sees_its_row_and_its_column_and_itself_once() -> None:
    attention = CrissCrossAttention(8).double()
    torch.nn.init.ones_(attention.gamma)
    x = torch.randn(1, 8, 4, 5, dtype=torch.float64)
    query, key, value = attention.query(x)[0], attention.key(x)[0], attention.value(x)[0]
    seen = [(1, j) for j in range(5)] + [(i, 3) for i in range(4) if i != 1]
    weights = torch.stack([query[:, 1, 3] @ key[:, i, j] for i, j in seen]).softmax(0)
    taken = sum(weight * value[:, i, j] for weight, (i, j) in zip(weights, seen, strict=True))
    torch.testing.assert_close(attention(x)[0, :, 1, 3], taken + x[0, :, 1, 3])


def test_run_once_a_pixel_does_not_see_the_others_and_run_twice_it_sees_all() -> None:
    attention = CrissCrossAttention(8)
    torch.nn.init.ones_(attention.gamma)
    x = torch.randn(1, 8, 4, 5, requires_grad=True)
    for times, everything in ((1, False), (2, True)):
        y = x
        for _ in range(times):
            y = attention(y)
        (gradient,) = torch.autograd.grad(y[0, :, 1, 3].sum(), x)
        assert bool(gradient[0].abs().sum(0).gt(0).all()) is everything
