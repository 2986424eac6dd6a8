"""What the reference would have answered, had it chosen among maxima that tie as a file does: either choice is right.

SegNet and ENet put maps back where the maxima of a pooling stood. At 224x352 a SegNet has some two million maxima that
are not zero, about twenty of which are within 1e-6 of the scale of the next: rounding decides, in each runtime anew,
and the choice moves logits by some per cent. A runtime's choice can be read, but not made; ppls's own model can be run
with either, so what that changes in its logits is what it changes in the reference's. Maxima that do not tie stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ppls.parity.compare import Array
from ppls.parity.files.candidate import FileCandidate
from ppls.parity.maxima import Noted, Settled
from ppls.parity.reference_run import Recording


def choosing_as(recording: Recording, candidate: FileCandidate, own: nn.Module, folder: Path) -> tuple[Recording, int]:
    """The recording with first outputs as after the file's choices, and how many maxima of its runs stand elsewhere.

    Args:
        own: ppls's own model of the recording's checkpoint.
        folder: for the arrays; they are needed for as long as the recording is.

    Raises whatever the file's runtime raises.
    """
    if candidate.opened.places is None:
        return recording, 0
    outputs = list(recording.result.outputs)
    moved = 0
    for index, (entry, recorded) in enumerate(zip(outputs, recording.outputs, strict=True)):
        if entry.index != 0:
            continue
        image = recording.input(entry.input)
        expected, as_recorded = _run(own, image, recording.maxima)
        found, as_the_file = _run(own, image, candidate.opened.places(image))
        elsewhere = sum(int((a != b).sum()) for a, b in zip(as_recorded, as_the_file, strict=True))
        if elsewhere:
            moved += elsewhere
            path = (folder / f"{index}.npy").absolute()
            np.save(path, recorded.stored.load() + (found - expected))
            outputs[index] = replace(entry, file=str(path))
    return replace(recording, result=replace(recording.result, outputs=tuple(outputs))), moved


def _run(own: nn.Module, image: Array, chosen: Sequence[Array]) -> tuple[Array, list[Array]]:
    """The model's logits with maxima that tie where another's stand, and where all of them stood."""
    noted = Noted()
    with torch.no_grad(), Settled(chosen), noted:
        logits: Array = own(torch.from_numpy(image))[0].numpy()
    return logits, noted.places
