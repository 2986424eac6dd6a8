"""Elements by their places."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ppls.programs.attributes import Attributes
from ppls.programs.numbers import Numbers, Value, number_of, torch_dtype
from ppls.programs.registry import Run, operator


@operator(pir="gather", pdmodel="gather", takes="X Index #Axis", numbers=True, like=True)
def gather(attributes: Attributes) -> Run:
    """Rows along an axis by their numbers; those may be a column, too."""
    default = attributes.integer("axis", 0)

    def run(x: Value, index: Value, axis: Value | None = None, *, like: Tensor) -> Value:
        if isinstance(x, Numbers) and isinstance(index, Numbers):
            return x._replace(values=tuple(x.values[at] for at in index.values), scalar=index.scalar)
        x, places = (each.tensor(like) if isinstance(each, Numbers) else each for each in (x, index))
        at = default if axis is None else int(number_of(axis))
        found = x.index_select(at, places.reshape(-1))
        return found.squeeze(at) if places.dim() == 0 else found

    return run


@operator(pir="gather_nd", pdmodel="gather_nd", takes="X Index")
def gather_nd(attributes: Attributes) -> Run:
    """The last axis of the index has the places, one for each of the first axes."""
    return lambda x, index: x[index.long().unbind(-1)]


@operator(pir="index_select", pdmodel="index_select", takes="X Index")
def index_select(attributes: Attributes) -> Run:
    axis = attributes.integer("axis" if "axis" in attributes else "dim", 0)
    return lambda x, index: x.index_select(axis, index)


@operator(pir="index_sample", pdmodel="index_sample", takes="X Index")
def index_sample(attributes: Attributes) -> Run:
    return lambda x, index: x.gather(1, index.long())


@operator(pir="take_along_axis", pdmodel="take_along_axis", takes="Input Index", gives="Result")
def take_along_axis(attributes: Attributes) -> Run:
    """Other axes are broadcast; torch takes what the index has of them."""
    axis = attributes.integer("Axis" if "Axis" in attributes else "axis")

    def run(x: Tensor, index: Tensor) -> Tensor:
        at = axis % x.dim()
        sides = [(index if place == at else x).shape[place] for place in range(x.dim())]
        return x.gather(at, index.long().expand(sides))

    return run


@operator(pir="embedding", pdmodel="lookup_table_v2", takes="Ids W")
def embedding(attributes: Attributes) -> Run:
    return _embedding(attributes)


@operator(pdmodel="lookup_table", takes="Ids W")
def old_embedding(attributes: Attributes) -> Run:
    """Paddle 1's: the numbers have one more axis, of length 1."""
    run = _embedding(attributes)
    return lambda ids, weight: run(ids.squeeze(-1), weight)


def _embedding(attributes: Attributes) -> Run:
    """The row `padding_idx` comes as zeros; torch gives what it is."""
    padding = attributes.integer("padding_idx", -1)

    def run(ids: Tensor, weight: Tensor) -> Tensor:
        found = F.embedding(ids.long(), weight)
        return found if padding == -1 else found.masked_fill((ids == padding).unsqueeze(-1), 0.0)

    return run


@operator(pir="one_hot", pdmodel="one_hot_v2", takes="X #depth_tensor", like=True)
def one_hot(attributes: Attributes) -> Run:
    depth, dtype = attributes.integer("depth", -1), attributes.dtype("dtype", "float32")
    attributes.must_be("allow_out_of_range", False)

    def run(x: Tensor, classes: Value | None = None, *, like: Tensor) -> Tensor:
        many = depth if classes is None else int(number_of(classes))
        return F.one_hot(x.long(), many).to(torch_dtype(dtype, like))

    return run


@operator(pir="argsort", pdmodel="argsort", gives="Out Indices")
def argsort(attributes: Attributes) -> Run:
    axis, descending = attributes.integer("axis", -1), attributes.truth("descending", False)
    return lambda x: tuple(torch.sort(x, dim=axis, descending=descending, stable=True))


@operator(pir="topk", pdmodel="top_k_v2", takes="X #K", gives="Out Indices")
def topk(attributes: Attributes) -> Run:
    listed, axis = attributes.integer("k", 1), attributes.integer("axis", -1)
    largest, ordered = attributes.truth("largest", True), attributes.truth("sorted", True)

    def run(x: Tensor, count: Value | None = None) -> tuple[Tensor, ...]:
        many = listed if count is None else int(number_of(count))
        return tuple(torch.topk(x, many, dim=axis, largest=largest, sorted=ordered))

    return run


@operator(pdmodel="top_k", takes="X #K", gives="Out Indices")
def old_topk(attributes: Attributes) -> Run:
    """Paddle 1's: the largest, along the last axis."""
    listed = attributes.integer("k", 1)
    return lambda x, count=None: tuple(torch.topk(x, listed if count is None else int(number_of(count)), dim=-1))


@operator(pir="where", pdmodel="where", takes="Condition X Y")
def where(attributes: Attributes) -> Run:
    return torch.where


@operator(pir="nonzero", pdmodel="where_index", takes="Condition")
def nonzero(attributes: Attributes) -> Run:
    return torch.nonzero


@operator(pir="masked_select", pdmodel="masked_select", takes="X Mask", gives="Y")
def masked_select(attributes: Attributes) -> Run:
    return torch.masked_select


@operator(pir="scatter", pdmodel="scatter", takes="X Ids Updates")
def scatter(attributes: Attributes) -> Run:
    """Rows are replaced, or set to zero and added to; of a row that is named twice the last stays."""
    replaces = attributes.truth("overwrite", True)

    def run(x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
        rows = index.reshape(-1)
        if replaces:
            return x.index_copy(0, rows, updates)
        return x.index_fill(0, rows, 0.0).index_add(0, rows, updates)

    return run


@operator(pir="scatter_nd_add", pdmodel="scatter_nd_add", takes="X Index Updates")
def scatter_nd_add(attributes: Attributes) -> Run:
    return lambda x, index, updates: x.index_put(index.long().unbind(-1), updates, accumulate=True)


@operator(pir="tensor_unfold", pdmodel="tensor_unfold", takes="Input")
def tensor_unfold(attributes: Attributes) -> Run:
    axis, size, step = (attributes.integer(name) for name in ("axis", "size", "step"))
    return lambda x: x.unfold(axis, size, step)
