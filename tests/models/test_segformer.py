"""SegFormer: what a comparison in eval mode cannot show, and what shapes cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import ppls
from ppls.models.layers import DropPath, drop_path_rates, from_tokens, to_tokens
from ppls.models.mix_transformer import MixVisionTransformer
from ppls.models.segformer import SegFormer
from tests.conftest import run_upstream


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SegFormer-B0 of 5 classes, as PaddleSeg saved it."""
    backbone = {"class": "paddleseg.models.MixVisionTransformer_B0", "kwargs": {}}
    model = {
        "class": "paddleseg.models.SegFormer",
        "kwargs": {"num_classes": 5, "backbone": backbone, "embedding_dim": 256},
    }
    job = {"name": "b0", "model": model, "seed": 0, "shape": (1, 3, 65, 97)}
    return run_upstream([job], tmp_path_factory.mktemp("segformer")) / "b0.pdparams"


def test_at_an_odd_size_it_computes_what_paddleseg_computes(checkpoint: Path) -> None:
    record = np.load(checkpoint.with_suffix(".npz"))
    with torch.no_grad():
        (logits,) = ppls.load(checkpoint)(torch.from_numpy(record["input"]))
    assert np.abs(logits.numpy() - record["eval"]).max() <= 1e-5 * np.abs(record["eval"]).max()


def test_all_44_linear_weights_are_transposed_the_17_square_ones_too(checkpoint: Path) -> None:
    conversion = ppls.convert(checkpoint)
    source = ppls.read(checkpoint)
    linear = [name for name, module in SegFormer(5).named_modules() if isinstance(module, nn.Linear)]
    square = 0
    for name in linear:
        (origin,) = conversion.origins[f"{name}.weight"]
        assert np.array_equal(conversion.arrays[f"{name}.weight"], source[origin].T), name
        square += source[origin].shape[0] == source[origin].shape[1]
    assert (len(linear), square) == (44, 17)


def test_the_two_epsilons_of_layer_norm_are_where_paddleseg_has_them(checkpoint: Path) -> None:
    epsilons = {
        name: module.eps for name, module in ppls.load(checkpoint).named_modules() if isinstance(module, nn.LayerNorm)
    }
    loose = {name for name, epsilon in epsilons.items() if epsilon == 1e-5}
    assert loose == {name for name in epsilons if name.endswith((".embed.norm", ".reduce_norm"))}
    assert {epsilon for name, epsilon in epsilons.items() if name not in loose} == {1e-6}
    assert len(loose) == 10
    assert len(epsilons) == 30


def test_drop_path_drops_whole_samples_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    kept = DropPath(0.25).train()(torch.ones(4000, 3, 2))
    assert kept.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert bool((kept == kept[:, :1, :1]).all())
    assert float(kept.mean()) == pytest.approx(1.0, abs=0.03)


def test_drop_path_does_nothing_in_eval_mode_or_at_rate_zero() -> None:
    x = torch.randn(8, 3, 2)
    assert DropPath(0.9).eval()(x) is x
    assert DropPath(0.0).train()(x) is x


def test_the_rates_of_drop_path_rise_linearly_from_zero() -> None:
    rates = [m.rate for m in MixVisionTransformer(drop_path_rate=0.7).modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0.1 * i for i in range(8)])


def test_the_rate_of_drop_path_is_the_users_to_say(checkpoint: Path) -> None:
    conversion = ppls.convert(checkpoint, overrides={"backbone": {"drop_path_rate": 0.2}})
    assert conversion.config["backbone"]["drop_path_rate"] == 0.2
    assert ppls.convert(checkpoint).config["backbone"]["drop_path_rate"] == 0.1
    # upstream's function fixes it, so that it was not assumed, and the reference is built without
    assert "backbone.drop_path_rate" not in ppls.convert(checkpoint).assumed
    assert conversion.reference["kwargs"]["backbone"] == {
        "class": "paddleseg.models.backbones.mix_transformer.MixVisionTransformer_B0",
        "kwargs": {},
    }


def test_tokens_are_the_pixels_row_by_row() -> None:
    x = torch.arange(24.0).reshape(1, 2, 3, 4)
    tokens = to_tokens(x)
    assert tokens[0, 5].tolist() == [x[0, 0, 1, 1], x[0, 1, 1, 1]]
    assert torch.equal(from_tokens(tokens, (3, 4)), x)


def test_the_rates_of_drop_path_are_rounded_as_paddles_are() -> None:
    paddles = (  # of paddle.linspace(0, 0.1, 16)
        "0x0p+0 0x1.b4e81cp-8 0x1.b4e81cp-7 0x1.47ae14p-6 0x1.b4e81cp-6 0x1.111112p-5 0x1.47ae14p-5 0x1.7e4b18p-5 "
        "0x1.b4e81cp-5 0x1.eb852p-5 0x1.11111p-4 0x1.2c5f94p-4 0x1.47ae14p-4 0x1.62fc96p-4 0x1.7e4b18p-4 0x1.99999ap-4"
    )
    assert drop_path_rates(0.1, 16) == [float.fromhex(rate) for rate in paddles.split()]
    assert drop_path_rates(0.3, 1) == [0.0]
