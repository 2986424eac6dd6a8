"""Exports of models that put maps back where maxima stood: a runtime may choose another of two that tie, no other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import ppls
from ppls.deploy.formats import FORMATS, Exported, write_export
from ppls.deploy.runtimes import Runtime, check_runtimes, runtimes_for
from tests.putting_back import PutBack, places_of

SIDE = 64


@pytest.mark.parametrize("format", FORMATS)
def test_every_runtime_says_where_its_maxima_stand(format: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    path, image = tmp_path / f"model{FORMATS[format]}", torch.randn(2, 3, 12, 16)
    write_export(format, Exported(PutBack(), "logits").eval(), path, (2, 12, 16), {})
    expected = places_of(image.numpy())
    for runtime in runtimes_for(format):
        found = [places for places in runtime.places(path, image.numpy()) if places.shape == expected.shape]
        assert len(found) == 1, runtime.name
        assert np.array_equal(found[0] % (12 * 16), expected), runtime.name


def _that_chooses(place: tuple[int, int]) -> Runtime:
    chosen = PutBack(elsewhere=place)

    def places(path: Path, image: np.ndarray) -> list[np.ndarray]:
        own = places_of(image)
        own[..., place[0] // 2, place[1] // 2] = place[0] * SIDE + place[1]
        return [own]

    return Runtime("Other", "torch", lambda path: lambda image: chosen(torch.from_numpy(image))[0].numpy(), places)


def test_another_of_two_maxima_that_tie_is_no_difference(tmp_path: Path) -> None:
    (check,), refused = check_runtimes([_that_chooses((1, 0))], tmp_path, PutBack(), "logits", [(1, SIDE, SIDE)], 1e-4)
    assert (check.scaled, check.ties, refused) == (0.0, 3, {})


def test_a_place_where_no_maximum_stands_is_one(tmp_path: Path) -> None:
    image = torch.from_numpy(np.random.default_rng((1, SIDE, SIDE)).normal(0.0, 0.5, (1, 3, SIDE, SIDE)))
    least = tuple(int(at) for at in np.unravel_index(int(image[0, 0, 2:4, 2:4].argmin()), (2, 2)))
    runtime = _that_chooses((2 + least[0], 2 + least[1]))
    with pytest.raises(ppls.Error, match=r"Other .* differs from PyTorch at 1x3x64x64"):
        check_runtimes([runtime], tmp_path, PutBack(), "logits", [(1, SIDE, SIDE)], 1e-4)
