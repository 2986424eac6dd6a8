"""Weights of every form: read, inspected, converted, and converted back."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import ppls
from ppls.checkpoint.checkpoint import Checkpoint
from ppls.checkpoint.pure_operators import PIR_OPERATORS
from ppls.cli.output import print_json
from ppls.cli.summary import print_conversion, print_inspection
from ppls.converter.inspect import inspect
from ppls.errors import Error
from ppls.parity.exported import lacking
from tests.fuzz import examples, samples
from tests.fuzz.case import Case
from tests.fuzz.runner import Place, Target


@lru_cache
def weights() -> Sequence[Case]:
    made = [
        Case(files, "" if name == "variables" else next(iter(files))) for name, files in examples.checkpoints().items()
    ]
    folders = [Case(case.files) for case in made if len(case.files) > 1]
    return [*made, *folders, *samples.weights()]


def _read(place: Place, case: Case) -> Iterable[str]:
    return read_all(place.given)


def read_all(path: Path) -> Iterator[str]:
    """Reads a file and every tensor in it; what is shown of it."""
    checkpoint = ppls.read(path)
    for name in checkpoint:
        try:
            array = checkpoint[name]
        except Error as error:
            yield str(error)
            continue
        assert array.shape == checkpoint.stored(name).shape, name
        assert not array.dtype.hasobject, name
    assert len(checkpoint.sha256) == 64
    yield from checkpoint.warnings
    try:
        graph = checkpoint.graph()
    except Error as error:
        yield str(error)
        return
    for operation in graph.operations if graph is not None else ():
        assert operation.kind
    if checkpoint.is_export:
        yield from _rewritten(checkpoint)


def _rewritten(checkpoint: Checkpoint) -> Iterator[str]:
    """What Paddle would be given to run: what is on the list, and no text of the file's."""
    try:
        program = checkpoint.program()
    except Error as error:
        yield str(error)
        return
    yield lacking(checkpoint, program) or ""
    if program.suffix == ".json":
        (region,) = json.loads(program.content)["program"]["regions"]
        kinds = set(_kinds(region))
        assert kinds <= PIR_OPERATORS | {"p", "1.data", "1.fetch", "1.if", "1.while", "2.yield"}, kinds


def _kinds(region: Any) -> Iterator[str]:
    for operation in region["blocks"][0]["ops"]:
        yield operation["#"]
        for inner in operation.get("regions", ()):
            yield from _kinds(inner)


def _inspect(place: Place, case: Case) -> Iterable[str]:
    result = inspect(place.given)
    print_inspection(result)
    yield printed_json(result.to_json())
    yield from result.checkpoint.warnings


def printed_json(document: dict[str, Any]) -> str:
    """What `--json` prints: one JSON object, which knows neither NaN nor infinity."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        print_json(document)

    return only_json(printed.getvalue())


def only_json(text: str) -> str:
    """One JSON object and nothing else."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} in what --json prints, which is no JSON")

    assert isinstance(json.loads(text, parse_constant=refuse), dict)
    return text


@lru_cache
def _models() -> Sequence[Case]:
    whole = Case({"model.pdparams": examples.model()["model.pdparams"]}, "model.pdparams")
    packed = Case({"model.safetensors": examples.model()["model.safetensors"]}, "model.safetensors")
    return [whole, whole, packed, *samples.small_models()]


def _convert(place: Place, case: Case) -> Iterable[str]:
    result = ppls.convert(place.given, place.out / "model.safetensors")
    print_conversion(result)
    yield printed_json(result.to_json())
    yield from result.warnings


@lru_cache
def _states() -> Sequence[Case]:
    names = ("model.pt", "legacy.pt", "model.safetensors")
    return [Case({name: examples.model()[name]}, name) for name in names]


def _convert_back(place: Place, case: Case) -> Iterable[str]:
    result = ppls.convert_back(place.given, place.out / "model.pdparams")
    print_conversion(result)
    yield printed_json(result.to_json())
    yield from result.warnings


TARGETS = (
    Target("read", 30, weights, _read),
    Target("inspect", 12, weights, _inspect),
    Target("convert", 5, _models, _convert),
    Target("convert back", 5, _states, _convert_back),
)
