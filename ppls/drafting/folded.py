"""Normalisations of the source that the port has folded into the convolutions before them."""

from __future__ import annotations

import torch

from ppls.drafting.attempt import Attempt
from ppls.drafting.recording import Recording
from ppls.drafting.units import Unit


def folded_norms(recording: Recording, attempt: Attempt) -> dict[Unit, Unit]:
    """By convolution of the source the BatchNorm that takes its output, and that the port seems to have folded into it.

    No layer of the port is that BatchNorm or could be, and the port has the convolution with a bias: as its
    counterpart, or as a layer that is none of the source's.
    """
    matched = {match.source: match.target for match in attempt.matches.values()}
    biased = [unit for unit in attempt.lost if unit.kind == "conv" and "bias" in unit.shapes]
    convolutions = [unit for unit in recording.units if unit.kind == "conv" and not unit.pieces and not unit.is_recast]
    found: dict[Unit, Unit] = {}
    for norm in recording.units:
        lost = any(unit.kind == norm.kind and unit.shapes == norm.shapes for unit in attempt.lost)
        if norm.kind != "batch_norm" or norm in matched or lost:
            continue
        for before in convolutions:
            there = [matched[before]] if before in matched else biased
            if any(
                "bias" in unit.shapes and unit.shapes["weight"] == before.shapes["weight"] for unit in there
            ) and _follows(recording, before, norm):
                found[before] = norm
    return found


def _follows(recording: Recording, before: Unit, norm: Unit) -> bool:
    outputs = [call.output for call in recording.calls[before]]
    return any(torch.equal(call.input, output) for call in recording.calls[norm] for output in outputs)
