"""Compares what ppls reads in a pickle with what CPython's unpicklers and numpy make of it."""

from __future__ import annotations

import io
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ppls.checkpoint import pickle_calls, plain_form, state_dict
from ppls.checkpoint import source as sources
from ppls.checkpoint.pickle_machine import read_pickle
from ppls.checkpoint.pickle_values import Array, Blob, Pairs, Scalar
from ppls.checkpoint.source import Source
from ppls.errors import CheckpointError
from tests.fuzz.differential.readers import DisagreementError, FromFile, InC, InPython, Log, UndecodableError, WithNumpy
from tests.fuzz.differential.streams import Streams


@contextmanager
def _logged(log: Log) -> Iterator[None]:
    """Has the calls of ppls's machine logged."""
    call, set_state = pickle_calls.call, pickle_calls.set_state

    def logged_call(source: Source, function: object, arguments: tuple[Any, ...]) -> object:
        result = call(source, function, arguments)
        log.call(function, arguments, result)
        return result

    def logged_set_state(source: Source, target: object, state: object) -> None:
        set_state(source, target, state)
        log.build(target, state)

    pickle_calls.call, pickle_calls.set_state = logged_call, logged_set_state
    try:
        yield
    finally:
        pickle_calls.call, pickle_calls.set_state = call, set_state


def check(path: Path) -> str:
    """Reads one stream with every reader: `refused`, by ppls, `read`, `tensors`, or tensors of the `plain` form.

    Raises:
        DisagreementError: ppls accepts it, and another reader does not, or understands something else.
    """
    plain = _is_plain(path)
    source = Source.open(path)
    ours = Log(source)
    try:
        with _logged(ours):
            value = read_pickle(source).value
        ours.entries.append(ours.plain(value))
    except (CheckpointError, UndecodableError) as error:
        if plain:
            raise DisagreementError(f"plain, and yet refused: {error}") from None
        return "refused"
    data = path.read_bytes()
    for reader in (InC, FromFile, InPython):
        theirs = Log()
        try:
            with open(path, "rb") if reader is FromFile else io.BytesIO(data) as file:
                theirs.entries.append(theirs.plain(reader(file, theirs, data[1]).load()))
        except Exception as error:
            raise DisagreementError(f"{reader.__name__} refuses it: {type(error).__name__}: {error}") from error
        for one, other in zip(ours.entries, theirs.entries, strict=False):
            if one != other:
                raise DisagreementError(f"ppls reads {one}, {reader.__name__} {other}")
        if len(ours.entries) != len(theirs.entries):
            raise DisagreementError(f"ppls makes {len(ours.entries)} calls, {reader.__name__} {len(theirs.entries)}")
        if plain:
            _require_arrays(theirs.entries)
    try:
        checkpoint = state_dict.read(source)
        names = [name for name in checkpoint if checkpoint[name] is not None]
    except CheckpointError:
        return "read"
    _compare_with_numpy(source, value, data, names)
    return "plain" if plain else "tensors"


def _is_plain(path: Path) -> bool:
    try:
        plain_form.check_plain_form(path)
    except plain_form.NotPlainError:
        return False
    return True


def _require_arrays(entries: list[Any]) -> None:
    """Nothing but arrays by their names, and the table of names; nothing called but what makes arrays."""
    *made, (kind, _, pairs) = entries
    called = {entry[1][1] for entry in made if entry[0] == "call"}
    built = {entry[1][0] for entry in made if entry[0] == "build"}
    values = [value for (_, name), value in pairs if name != plain_form.NAME_TABLE]
    names = [key[0] for key, _ in pairs]
    if (
        kind != "dict"
        or called - {"RECONSTRUCT", "DTYPE", "ENCODE", "BYTES"}
        or built - {"made"}
        or {value[0] for value in values} - {"made"}
        or set(names) - {"str"}
    ):
        raise DisagreementError(f"of the plain form, but {entries}")


def _compare_with_numpy(source: Source, value: object, data: bytes, names: list[str]) -> None:
    try:
        theirs = WithNumpy(data).load()
    except Exception as error:
        raise DisagreementError(f"numpy refuses it: {type(error).__name__}: {error}") from error
    flat = isinstance(theirs, dict) and all(type(i) is np.ndarray and i.dtype.kind not in "US" for i in theirs.values())
    if flat and list(theirs) != names:
        raise DisagreementError(f"ppls names the tensors {names}, CPython {list(theirs)}")
    for array, expected in _pairs_of_arrays(value, theirs, set()):
        stored = state_dict._stored(source, array).load()
        if stored.dtype != expected.dtype.newbyteorder("="):
            raise DisagreementError(f"ppls reads {stored.dtype}, numpy {expected.dtype}")
        if stored.shape != expected.shape or stored.tobytes() != expected.astype(stored.dtype).tobytes():
            raise DisagreementError(f"ppls reads {stored!r}, numpy {expected!r}")


def _pairs_of_arrays(ours: Any, theirs: Any, seen: set[int]) -> Iterator[tuple[Array, Any]]:
    if id(ours) in seen:
        return
    seen.add(id(ours))
    if isinstance(ours, Scalar):
        if repr(ours.value) != repr(theirs.item()):
            raise DisagreementError(f"ppls reads {ours.value!r}, numpy {theirs!r}")
    elif isinstance(ours, Array):
        if ours.dtype is not None and ours.dtype.code[0] not in "US":
            yield ours, theirs
    elif isinstance(ours, Pairs):
        for one, other in zip(ours.values(), theirs.values(), strict=True):
            yield from _pairs_of_arrays(one, other, seen)
    elif isinstance(ours, list | tuple) and not isinstance(ours, Blob):
        for one, other in zip(ours, theirs, strict=True):
            yield from _pairs_of_arrays(one, other, seen)


class FoundError(Exception):
    """A stream on which the readers differ."""

    def __init__(self, seed: int, index: int, what: str, stream: bytes) -> None:
        super().__init__(seed, index, what, stream)
        self.stream = stream

    def __str__(self) -> str:
        return "seed {}, stream {}: {}".format(*self.args)


def run(seed: int, count: int) -> Counter[str]:
    """Checks streams one after the other; what became of them. Raises `FoundError` at the first disagreement."""
    outcomes: Counter[str] = Counter()
    window = sources._WINDOW
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        path = Path(folder) / "stream.pdparams"
        for index, stream in zip(range(count), Streams(seed), strict=False):
            path.write_bytes(stream)
            sources._WINDOW = (1, 16, window)[index % 3]  # opcodes lie across the ends of what is read at once, too
            try:
                outcomes[check(path)] += 1
            except DisagreementError as error:
                raise FoundError(seed, index, str(error), stream) from error
            finally:
                sources._WINDOW = window
    return outcomes
