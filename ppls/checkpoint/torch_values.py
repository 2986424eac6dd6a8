"""What stands in the pickle of a state dict of `torch.save`: storages, tensors, and the calls that make them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ppls.checkpoint.dtypes import DTYPES
from ppls.checkpoint.tensors import is_shape

# The classes of storages, and the element types that they are of
STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "UntypedStorage": "uint8",
    "QInt8Storage": "int8",
    "QUInt8Storage": "uint8",
    "QInt32Storage": "int32",
}
_MOST_ARGUMENTS = 8


class Storage(NamedTuple):
    """What the elements of a tensor are in: the name of their type, and the storage's in the file."""

    dtype: str
    key: str


class Tensor(NamedTuple):
    """A view of a storage, in elements; `strange` says why it has no plain values."""

    storage: Storage
    offset: int = 0
    shape: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    strange: str = ""

    @property
    def span(self) -> int:
        """How many elements of the storage it reaches over."""
        if 0 in self.shape:
            return 0
        return 1 + sum((side - 1) * stride for side, stride in zip(self.shape, self.strides, strict=True))

    @property
    def contiguous(self) -> bool:
        """Whether its elements stand one after another, the last dimension changing fastest."""
        expected = 1
        for side, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if side > 1 and stride != expected:
                return False
            expected *= side
        return True


class Named(NamedTuple):
    """A type or a layout of torch by its name; a storage's class is one too."""

    name: str


class Table(dict[Any, Any]):
    """An OrderedDict."""


class Function(NamedTuple):
    """What a pickle may call; none of them does more than to put its arguments together."""

    call: Callable[..., Any]


def _tensor(
    storage: object,
    offset: object,
    shape: object,
    strides: object,
    requires_grad: object = None,
    hooks: object = None,
    metadata: object = None,
) -> Tensor:
    sides, steps = _sizes(shape), _sizes(strides)
    if not isinstance(storage, Storage) or type(offset) is not int or offset < 0 or len(sides) != len(steps):
        raise ValueError("a tensor that is none")
    if metadata:
        raise ValueError("a tensor that is a conjugate or negative view")
    return Tensor(storage, offset, sides, steps)


def _tensor_of_type(
    storage: object,
    offset: object,
    shape: object,
    strides: object,
    requires_grad: object,
    hooks: object,
    dtype: object,
    metadata: object = None,
) -> Tensor:
    if not isinstance(dtype, Named) or dtype.name not in DTYPES:
        raise ValueError("a tensor of an element type that ppls cannot read")
    tensor = _tensor(storage, offset, shape, strides, metadata=metadata)
    return tensor._replace(storage=tensor.storage._replace(dtype=dtype.name))


def _sizes(value: object) -> tuple[int, ...]:
    if not isinstance(value, tuple) or not is_shape(value):
        raise ValueError("a shape that is none, or larger than any memory")
    return value


def _with_attributes(function: object, kind: object, arguments: object, state: object) -> object:
    """A tensor with attributes of its own, which are left out."""
    return called(function, arguments)


def called(function: object, arguments: object) -> object:
    # many arguments, handed over again and again, would take time without end
    if not isinstance(function, Function) or type(arguments) is not tuple or len(arguments) > _MOST_ARGUMENTS:
        raise ValueError("a call that PyTorch does not write")
    return function.call(*arguments)


def _first(value: object, *_: object) -> object:
    return value


def _strange(what: str) -> Function:
    return Function(lambda *_: Tensor(Storage("float32", ""), strange=what))


FUNCTIONS = {
    ("collections", "OrderedDict"): Function(lambda: Table()),
    ("torch", "Size"): Function(_first),
    ("torch", "device"): Function(_first),
    ("torch.serialization", "_get_layout"): Function(_first),
    ("torch._utils", "_rebuild_tensor"): Function(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): Function(_tensor),
    ("torch._utils", "_rebuild_tensor_v3"): Function(_tensor_of_type),
    ("torch._utils", "_rebuild_parameter"): Function(_first),
    ("torch._utils", "_rebuild_parameter_with_state"): Function(_first),
    ("torch._tensor", "_rebuild_from_type_v2"): Function(_with_attributes),
    ("torch._utils", "_rebuild_qtensor"): _strange("quantised"),
    ("torch._utils", "_rebuild_sparse_tensor"): _strange("sparse"),
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): _strange("on the meta device"),
}
