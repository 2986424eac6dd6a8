"""Big tensors that Paddle split: above 1 GiB, at the top level, with protocols 2 and 3.

{'w@@.0': ..., 'w@@.1': ..., 'UnpackBigParamInfor@@': {'w': {'OriginShape': (...), 'slices': ['w@@.0', 'w@@.1']}}}
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from ppls.checkpoint import arrays
from ppls.checkpoint.checkpoint import StoredTensor
from ppls.checkpoint.names import check_name
from ppls.checkpoint.pickle_calls import text
from ppls.checkpoint.pickle_values import Pairs
from ppls.checkpoint.source import Source

TABLE = "UnpackBigParamInfor@@"


def join(source: Source, tensors: Mapping[str, StoredTensor], table: Pairs) -> dict[str, StoredTensor]:
    """The tensors with their pieces put together; the joined ones come last, as in `paddle.load`.

    Raises:
        CheckpointError: a piece is missing or taken twice, or they do not add up to the shape that they had.
    """
    rest, whole = dict(tensors), {}
    for key, entry in table.items():
        name = check_name(source, text(source, key))
        joined = _joined(source, rest, entry)
        if joined is None or name in whole:
            raise source.error(f"damaged: the pieces of the big tensor {name!r} do not fit together")
        whole[name] = joined
    if clash := rest.keys() & whole.keys():
        raise source.error(f"damaged: {min(clash)!r} stands in the file both whole and in pieces")
    return {**rest, **whole}


def _joined(source: Source, rest: dict[str, StoredTensor], entry: object) -> StoredTensor | None:
    """Takes the pieces of one tensor out of `rest`; None if they do not fit together."""
    if not isinstance(entry, Pairs) or entry.keys() != {"OriginShape", "slices"}:
        return None
    shape, slices = entry["OriginShape"], entry["slices"]
    if type(shape) is not tuple or type(slices) is not list or not slices:
        return None
    source.budget.take_nodes(len(slices))
    pieces = [piece for name in slices if (piece := rest.pop(text(source, name), None)) is not None]
    flat = all(len(piece.shape) == 1 and piece.dtype == pieces[0].dtype for piece in pieces)
    sides = all(type(side) is int and side > 0 for side in shape)
    if (
        len(pieces) < len(slices)
        or not flat
        or not sides
        or math.prod(shape) != sum(piece.shape[0] for piece in pieces)
    ):
        return None
    return arrays.joined(pieces, shape)
