"""The weights: the candidate's tensors beside the checkpoint's, bit for bit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np
from torch import Tensor, nn

from ppls.checkpoint.checkpoint import StoredTensor
from ppls.converter.conversion import Conversion
from ppls.converter.translate import translate_back
from ppls.mappings.maps import Map
from ppls.mappings.operations import OperationError
from ppls.models.stored import stored_from_torch
from ppls.parity.report.data import WeightFigures


def weigh(conversion: Conversion, module: nn.Module, *, own: bool) -> tuple[WeightFigures | None, list[str], list[str]]:
    """The weights stage: the candidate's state dict, mapped back to Paddle's names, beside the checkpoint.

    Returns the figures, failures and warnings. Where a map leads one way only (a folded bias), the tensors are held
    against the converted ones. Another candidate may name its tensors as it likes: then there are no figures, and a
    warning.
    """
    tensors = {name: stored_from_torch(tensor) for name, tensor in _distinct(module, conversion.map)}
    try:
        back = translate_back(tensors, conversion.map, conversion.config)
    except OperationError as error:
        return None, [], [f"weights are not compared: {error}"]
    if not back.problems:
        return compare_weights(conversion.source_tensors, back.tensors), [], []
    if not own and tensors.keys() == conversion.tensors.keys():  # what was folded has no way back: as it was converted
        return compare_weights(conversion.tensors, tensors), [], []
    reason = f"{len(back.problems)} of the candidate's tensors do not map back, first {back.problems[0]}"
    return None, [reason] if own else [], [] if own else [f"weights are not compared: {reason}"]


def compare_weights(checkpoint: Mapping[str, StoredTensor], mapped_back: Mapping[str, StoredTensor]) -> WeightFigures:
    """Compares the candidate's tensors, mapped back to Paddle's names, with the checkpoint's, bit for bit.

    Tensors that the map drops (duplicates, dead ones) are in the checkpoint alone and are not compared.
    """
    common = [name for name in mapped_back if name in checkpoint]
    different = [name for name in common if not _same_bits(checkpoint[name], mapped_back[name])]
    return WeightFigures(len(common), tuple(different))


def _distinct(module: nn.Module, map: Map) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a module that the map speaks of or should: each once, under the name that the map has for it."""
    names: dict[object, list[str]] = defaultdict(list)
    tensors = module.state_dict()
    for name, tensor in tensors.items():
        names[tensor.data_ptr(), tensor.shape, tensor.stride()].append(name)
    for aliases in names.values():
        for name in [name for name in aliases if any(map.backward.matches(name))] or aliases[:1]:
            # torch's own BatchNorm counts batches, Paddle's does not
            if not name.endswith("num_batches_tracked") and not any(kept.match_within(name) for kept in map.keep):
                yield name, tensors[name]


def _same_bits(a: StoredTensor, b: StoredTensor) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return np.ascontiguousarray(a.load()).tobytes() == np.ascontiguousarray(b.load()).tobytes()
