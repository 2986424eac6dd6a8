"""What `paddle.save` and `static.save` pickle: state dicts, optimizer states, nested dictionaries, single tensors.

Names of the tensors:
- a dictionary's keys; those of nested dictionaries joined with dots, without the levels that all tensors share, so that
  `{'model': state_dict, 'epoch': 3}` gives the state dict's own names;
- in a list or tuple, and of a single tensor: Paddle's variable name (`linear_0.w_0`) if it is there, else `0`, `1`.

Big tensors (above 1 GiB, at the top level) are split in protocols 2 and 3, and put together here:
{'w@@.0': ..., 'w@@.1': ..., 'UnpackBigParamInfor@@': {'w': {'OriginShape': (...), 'slices': ['w@@.0', 'w@@.1']}}}
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from ppls.checkpoint.checkpoint import Checkpoint
from ppls.checkpoint.dtypes import BY_PICKLE
from ppls.checkpoint.pickle_calls import text
from ppls.checkpoint.pickle_machine import read_pickle
from ppls.checkpoint.pickle_values import Array, Blob, Coding, Dtype, Members, Pairs, Scalar, is_text_array, shown
from ppls.checkpoint.source import Source
from ppls.checkpoint.tensors import (
    StoredTensor,
    check_name,
    from_bytes,
    from_latin1_text,
    from_memory,
    is_shape,
    joined,
    limit_growth,
)  # fmt: skip
from ppls.shown import listed

NAME_TABLE = "StructuredToParameterName@@"
MASTER_WEIGHTS = "master_weights"  # an optimizer's, by their parameters' variables
_TABLE_OF_PIECES = "UnpackBigParamInfor@@"
_MAX_DEPTH = 16
_MAX_METADATA = 1000
_ACCUMULATOR = (  # takes longer to compile than most files take to read
    r"_(moment[12]?|velocity|beta[12]_pow_acc|inf_norm|mean_(grad|square)|momentum|avg_squared_(grad|update)|squared|linear)"
    r"_\d+$"
)
_PARAMETER = re.compile(r"\w+_\d+\.[wb]_\d+")
_VARIABLE = re.compile(r"\w+_\d+\.[wb]_\d+(_\w+_\d+)?|\w+_\d+")

Path = tuple[str, ...]


class _Found(NamedTuple):
    """A tensor: in a dictionary, or `positioned` in a list or alone; `variable` is Paddle's name, where it has one."""

    path: Path
    array: Array
    variable: str
    positioned: bool


def looks_like(head: bytes) -> bool:
    """True for the beginning of a pickle of protocol 2, 3 or 4."""
    return head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04")


def read(source: Source) -> Checkpoint:
    """Reads everything but the tensors' payloads.

    Raises:
        CheckpointError: the pickle is damaged, asks for what a weight file may not ask, or holds no tensors.
    """
    protocol = source.read(1, 1)[0] if source.size > 1 else 0
    pickled = read_pickle(source)
    contents = _Contents(source, budget=pickled.opcodes)
    contents.walk(pickled.value)
    is_schedule = any(
        key.startswith("LR_Scheduler.") for key in contents.metadata
    )  # of an optimizer that keeps no more
    if not contents.found and not is_schedule:
        raise source.error(contents.why_empty(pickled.value))

    common = _common_level([found.path for found in contents.found]) if contents.found else ()
    tensors, variables = contents.name_tensors(common)
    if contents.table_of_pieces is not None:
        tensors = _join_pieces(source, tensors, contents.table_of_pieces)
    limit_growth(source, tensors)
    if pickled.end < source.size:
        contents.warnings.append(
            f"{source.size - pickled.end:,} bytes after the first pickle were ignored, as Paddle does"
        )
    if not pickled.python2:
        _warn_of_float8(contents, tensors)
    parts = contents.parts(common)
    kind = "mixture of state dicts" if parts else contents.kind(pickled.value, tensors, common)
    if common:
        kind += f" under {'.'.join(common)!r}"
    return Checkpoint(
        source.path,
        f"Paddle {kind} (pickle protocol {protocol})",
        tensors,
        name_table=contents.complete_table(tensors, variables, common),
        warnings=tuple(contents.warnings),
        metadata=contents.metadata,
        naming="variables" if kind.startswith("static") else "numbers" if contents.numbered else "structured",
        parts=parts,
        stamps=[source.stamp],
    )


class _Contents:
    """The values of one pickle, sorted into tensors, name tables and metadata."""

    def __init__(self, source: Source, *, budget: int) -> None:
        self.found: list[_Found] = []
        self.metadata: dict[str, str] = {}
        self.warnings: list[str] = []
        self._source = source
        self._budget = budget  # every value took an opcode: visiting more than that means shared or cyclic structure
        self._name_table: dict[Path, str] = {}
        self.numbered = False  # a tensor got a number for a name
        self.table_of_pieces: Pairs | None = None

    def walk(self, value: object, path: Path = (), *, positioned: bool = True) -> None:
        self._budget -= 1
        if self._budget < 0 or len(path) > _MAX_DEPTH:
            raise self._source.error(
                "damaged, or not a Paddle weight file: its values are nested too deeply or endlessly"
            )
        match value:
            case (str() | Blob() as variable, Array() as array) if type(value) is tuple:
                self._add_tensor(_Found(path, array, text(self._source, variable), positioned))
            case Array():
                self._add_tensor(_Found(path, value, "", positioned))
            case Pairs():
                self._walk_dictionary(value, path)
            case Members():
                pass
            case Scalar(plain):  # a tuple, too
                self._note(path, plain)
            case Blob():  # another
                self._note(path, value)
            case list() | tuple():
                for index, item in enumerate(value):
                    self.walk(item, (*path, str(index)))
            case str() | bool() | int() | float() | bytes() | Dtype() | None:
                self._note(path, value)
            case _:
                raise self._source.error(f"damaged, or not a Paddle weight file: {shown(value)} as a value")

    def _walk_dictionary(self, pairs: Pairs, path: Path) -> None:
        for key, value in pairs.items():
            if not isinstance(key, str):
                if not isinstance(value, Array | Pairs | list | tuple) or isinstance(value, Blob | Scalar):
                    continue  # {0: 'road', 1: 'sidewalk'}: metadata
                raise self._source.error(f"a key of the dictionary is {shown(key)}, not a name")
            if key == NAME_TABLE:
                for structured, variable in self._table(key, value).items():
                    entry = (*path, text(self._source, structured))
                    self._name_table[entry] = text(self._source, variable)
            elif key == _TABLE_OF_PIECES and not path:
                self.table_of_pieces = self._table(key, value)
            else:
                self.walk(value, (*path, key), positioned=False)

    def _table(self, name: str, value: object) -> Pairs:
        if not isinstance(value, Pairs):
            raise self._source.error(f"damaged: {name}, which should be a table, is {shown(value)}")
        self._source.budget.take_nodes(len(value))
        return value

    def _add_tensor(self, found: _Found) -> None:
        if found.array.dtype is None:
            raise self._source.error("damaged: an array without content")
        if is_text_array(found.array):
            self.warnings.append(f"{'.'.join(found.path)!a} was left out: an array of text")
        else:
            self._source.budget.take_names()
            self.found.append(found)

    def _note(self, path: Path, value: object) -> None:
        if len(self.metadata) < _MAX_METADATA and path:
            key = ".".join(path)
            as_text = value if isinstance(value, str) and value.isprintable() else shown(value)
            self.metadata[key if key.isprintable() else ascii(key)] = as_text

    def name_tensors(self, common: Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
        """Every tensor under its final name, and the variable names that came with the values."""
        times = Counter(found.variable for found in self.found)
        tensors: dict[str, StoredTensor] = {}
        variables: dict[str, str] = {}
        for path, array, variable, positioned in self.found:
            own = path[len(common) :]
            if positioned and times[variable] == 1 and variable:
                own = (*own[:-1], variable)
            elif positioned:
                own = own or ("0",)
                self.numbered = True
            name = check_name(self._source, ".".join(own))
            if name in tensors:
                raise self._source.error(f"two tensors are named {name!r}")
            tensors[name] = _stored(self._source, array)
            if variable:
                variables[name] = variable
        return tensors, variables

    def complete_table(
        self, tensors: dict[str, StoredTensor], variables: dict[str, str], common: Path
    ) -> dict[str, str]:
        """The file's name table, and the variable names of the values, as far as there are tensors for them."""
        table = dict(variables)
        stale = 0
        for path, variable in self._name_table.items():
            # The table stands beside the dictionaries that hold the tensors, or inside them.
            candidates = (".".join(path), ".".join(path[len(common) :]) if path[: len(common)] == common else "")
            name = next((candidate for candidate in candidates if candidate in tensors), None)
            if name is None:
                stale += 1
            else:
                table[name] = variable
        if stale:
            self.warnings.append(f"the name table speaks of {stale} tensors that are not in the file")
        return table

    def parts(self, common: Path) -> dict[str, str]:
        """The nested dictionaries, if the tensors lie in several, or in one with nothing but numbers beside it."""
        below: dict[str, list[str]] = {}
        for found in self.found:
            own = found.path[len(common) :]
            if len(own) > 1:
                below.setdefault(own[0], []).append(own[-1])
            elif math.prod(found.array.shape) > 1:
                return {}
        if len(below) < 2 and len(self.found) == sum(map(len, below.values())):
            return {}
        return {
            name: "Paddle optimizer state" if self._is_optimizer(names, (*common, name)) else "Paddle state dict"
            for name, names in below.items()
        }

    def kind(self, value: object, tensors: dict[str, StoredTensor], common: Path) -> str:
        if isinstance(value, Array) or (isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], Array)):
            return "tensor"
        if isinstance(value, list | tuple):
            return "list of tensors"
        if self._is_optimizer(list(tensors), common) or self._source.path.suffix == ".pdopt":
            return "optimizer state"
        if not self._name_table and any(map(_PARAMETER.fullmatch, tensors)) and all(map(_VARIABLE.fullmatch, tensors)):
            return "static-graph parameters"
        return "state dict"

    def _is_optimizer(self, names: list[str], level: Path) -> bool:
        scheduler = ".".join((*level, "LR_Scheduler."))
        accumulators = sum(name[-1:].isdigit() and re.search(_ACCUMULATOR, name) is not None for name in names)
        mostly = 2 * accumulators > len(names) and not any(map(_PARAMETER.fullmatch, names))
        return mostly or any(key.startswith(scheduler) for key in self.metadata)

    def why_empty(self, value: object) -> str:
        first = next(iter(value.values()), None) if isinstance(value, Pairs) else None
        if isinstance(first, Pairs) and ("structured_name" in first or "trainable" in first):
            return "the name table of an exported model, not its weights: give the .pdiparams file that lies beside it"
        if self.warnings:
            return "holds no tensors, only text"
        return f"holds no tensors, only {shown(value)}; give the .pdparams file of a model"


def _join_pieces(source: Source, tensors: Mapping[str, StoredTensor], table: Pairs) -> dict[str, StoredTensor]:
    """The tensors with their pieces put together; the joined ones come last, as in `paddle.load`.

    Raises:
        CheckpointError: a piece is missing or taken twice, or they do not add up to the shape that they had.
    """
    rest, whole = dict(tensors), {}
    for key, entry in table.items():
        name = check_name(source, text(source, key))
        tensor = _joined(source, rest, entry)
        if tensor is None or name in whole:
            raise source.error(f"damaged: the pieces of the big tensor {name!r} do not fit together")
        whole[name] = tensor
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
    if len(pieces) < len(slices) or not flat or not is_shape(shape) or 0 in shape:
        return None
    return joined(pieces, shape) if math.prod(shape) == sum(piece.shape[0] for piece in pieces) else None


def _common_level(paths: list[Path]) -> Path:
    """The dictionaries that all tensors lie in; master weights keep theirs, which tells them from parameters."""
    first, last = min(paths), max(paths)
    if first[:1] == (MASTER_WEIGHTS,):
        return ()
    common = 0
    while common < min(len(first), len(last)) - 1 and first[common] == last[common]:
        common += 1
    return first[:common]


def _stored(source: Source, array: Array) -> StoredTensor:
    assert array.dtype is not None  # _add_tensor
    dtype, payload = BY_PICKLE[array.dtype.code], array.payload
    layout: dict[str, Any] = {"order": array.dtype.order, "fortran_order": array.fortran_order}
    if isinstance(payload, bytes):
        return from_memory(payload, dtype, array.shape, **layout)
    if payload.coding is Coding.LATIN1_TEXT:
        return from_latin1_text(source, payload.offset, payload.nbytes, dtype, array.shape, **layout)
    return from_bytes(source, payload.offset, dtype, array.shape, **layout)


def _warn_of_float8(contents: _Contents, tensors: dict[str, StoredTensor]) -> None:
    """Paddle 3 pickles float8 as int8, and so does `paddle.load` give it back."""
    if names := [name for name, tensor in tensors.items() if tensor.dtype == "int8"]:
        contents.warnings.append(f"int8, or float8 whose type the file does not tell: {listed(names, 5)}")
