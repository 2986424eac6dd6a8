"""Files of models that put maps back where maxima stood: of two that tie they may choose another than PaddleSeg did."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from ppls.parity.files.candidate import FileCandidate
from ppls.parity.files.ties import choosing_as
from ppls.parity.reference_run import Recording
from tests.parity.conftest import Recorded
from tests.putting_back import PutBack, places_of


@pytest.fixture
def recording(embedded: Recorded, tmp_path: Path) -> Recording:
    """A run of the reference on one image, whose maxima stand where PyTorch's do."""
    result = embedded.recording.result
    entry = next(output for output in result.outputs if output.index == 0)
    image = embedded.recording.input(entry.input)
    np.save(tmp_path / "output.npy", PutBack()(torch.from_numpy(image))[0].numpy())
    np.save(tmp_path / "places.npy", places_of(image))
    output = replace(entry, file=str(tmp_path / "output.npy"))
    maxima = replace(entry, file=str(tmp_path / "places.npy"))
    return replace(embedded.recording, result=replace(result, outputs=(output,), maxima=(maxima,)))


def _file_that_chooses(places: np.ndarray) -> FileCandidate:
    opened: Any = SimpleNamespace(places=lambda image: [places])
    return cast(FileCandidate, SimpleNamespace(opened=opened))


def test_the_reference_is_taken_as_after_the_choice_of_the_file(recording: Recording, tmp_path: Path) -> None:
    (output,) = recording.outputs
    image = recording.input(output.input)
    places = places_of(image)
    places[..., 0, 0] = image.shape[3]  # the second pixel of the first column
    found, moved = choosing_as(recording, _file_that_chooses(places), PutBack(), tmp_path)
    expected = np.array(output.stored.load())
    expected[..., 0, 0], expected[..., 1, 0] = 0.0, 9.0
    assert moved == image.shape[0] * image.shape[1]
    assert np.array_equal(found.outputs[0].stored.load(), expected)


def test_maxima_that_do_not_tie_stay(recording: Recording, tmp_path: Path) -> None:
    (output,) = recording.outputs
    image = recording.input(output.input)
    places = places_of(image)
    window = image[0, 0, 2:4, 2:4]
    row, column = np.unravel_index(int(window.argmin()), (2, 2))
    places[0, 0, 1, 1] = (2 + row) * image.shape[3] + 2 + column
    assert choosing_as(recording, _file_that_chooses(places), PutBack(), tmp_path) == (recording, 0)
