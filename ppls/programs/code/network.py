"""The text of `model.py`: a class for each kind of block, and the network."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from ppls.errors import ConversionError
from ppls.programs.code.blocks import (
    Block,
    Path,
    blocks,
    blocks_in,
    calls_of,
    given_in,
    taken,
    values_of,
    with_biases,
)
from ppls.programs.code.expressions import is_plain
from ppls.programs.code.forward import Body, Forward, Known
from ppls.programs.code.members import BATCH_NORM, DROPOUT, PARTS, Maker, makers
from ppls.programs.code.trace import Trace, Value, traced
from ppls.programs.module import ProgramModule

_LONGEST = 110
_HEAD = '''"""A network in PyTorch, made by ppls from the program of an export.

Its weights lie beside this file:

    from safetensors.torch import load_file

    network = Network()
    network.load_state_dict(load_file("model.safetensors"))
    network.eval()
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
'''


def code_of(module: ProgramModule) -> str:
    """Python code that makes a module of the same weights, names and numbers, of torch alone.

    Raises:
        ConversionError: no code can be written for it; the message says why.
    """
    trace = traced(module)
    try:
        return _Writer(module, trace).text()
    except ConversionError as error:
        raise ConversionError(f"{module.program.source}: no code can be written for it: {error}") from None


@dataclass
class _Class:
    """A class so far.

    Attributes:
        made: of each of its blocks the numbers of its parts, by their names.
        forward: its lines, and with them what the shapes are in each block.
    """

    name: str
    forward: tuple[str, ...]
    parts: tuple[tuple[Path, str], ...]
    made: list[dict[str, Any]] = field(default_factory=list)
    comments: list[tuple[str, ...]] = field(default_factory=list)


class _Writer:
    def __init__(self, module: ProgramModule, trace: Trace) -> None:
        self._trace = trace
        self._module = module
        calls = with_biases(trace.calls)
        self._makers = makers(trace, calls, dict(module.named_modules()))
        self._root = blocks(calls, {step.place: step.layer for step in module.program.steps})
        self._last: dict[Value, int] = {}  # the call that is the last to take a value
        self._order = {id(call): at for at, call in enumerate(calls_of(self._root))}
        for call in calls_of(self._root):
            for value in taken(call):
                self._last[value] = self._order[id(call)]
        for value in values_of(trace.outputs):
            self._last[value] = len(self._order)
        self._paths = {block.path for block in blocks_in(self._root)}
        self._bodies: dict[Path, Body] = {}
        self._known = Known(trace, self._makers, self._paths, self._bodies)
        self._classes: dict[Any, _Class] = {}
        self._class_of: dict[Path, tuple[_Class, int]] = {}
        self._layers = {step.place: step.layer for step in module.program.steps}

    def text(self) -> str:
        self._body(self._root)
        for height in range(max(body.height for body in self._bodies.values()) + 1):
            for path, body in self._bodies.items():
                if body.height == height:
                    self._classify(path, body)
        found = "".join(self._class_text(each) for each in self._classes.values())
        used = [text for name, text in (("BatchNorm(", BATCH_NORM), ("Dropout(", DROPOUT), ("Parts(", PARTS))
                if re.search(rf"(?<![\w.]){re.escape(name)}", found)]  # fmt: skip
        return _HEAD + "".join(f"\n{text}" for text in used) + found

    # What a block's forward is

    def _body(self, block: Block) -> Body:
        for item in block.items:
            if isinstance(item, Block):
                self._body(item)
        made = set(given_in(block))
        calls = list(calls_of(block))
        end = self._order[id(calls[-1])] if calls else -1
        takes: list[Any] = []
        for item in block.items:
            for value in self._known.taken(item):
                if isinstance(value, Value) and value not in made and value not in takes:
                    takes.append(value)
        gives = [value for value in given_in(block) if self._last.get(value, -1) > end]
        if not block.path:
            takes, gives = list(self._trace.inputs), []
        body = Forward(self._known, block, takes, gives).body()
        self._bodies[block.path] = body
        return body

    # Which blocks are of one class

    def _classify(self, path: Path, body: Body) -> None:
        parts: list[tuple[Path, str]] = []
        numbers: dict[str, Any] = {}
        for name, maker in body.parts.items():
            inner = self._class_of.get((*path, *name))
            if inner is not None:
                kind, at = inner
                words = _parameters(kind)
                texts = ", ".join(f"{word}={{}}" for word in words)
                maker = Maker(
                    f"{kind.name}({texts})", tuple(words), tuple(kind.made[at][word] for word in words.values())
                )
            parts.append((name, maker.text))
            prefix = "_".join(re.sub(r"\W", "_", part) for part in name)
            for word, number in zip(maker.names, maker.numbers, strict=True):
                own = f"{prefix}_{word}"
                while own in numbers:
                    own += "_"
                numbers[own] = number
        key = (tuple(parts), tuple(body.forward), not path, self._kind_name(path))
        if key not in self._classes:
            self._classes[key] = _Class(self._free_name(self._kind_name(path)), tuple(body.forward), tuple(parts))
        found = self._classes[key]
        found.made.append(numbers)
        found.comments.append(tuple(body.comments))
        self._class_of[path] = found, len(found.made) - 1

    def _kind_name(self, path: Path) -> str:
        if not path:
            return "Network"
        words = [part for part in path if is_plain(part)]
        last = re.sub(r"_?\d+$", "", words[-1]) if words else "part"
        name = "".join(word[:1].upper() + word[1:] for word in last.split("_")) or "Part"
        name = name if path[-1] == (words or [""])[-1] else f"{name}Block"
        return name if is_plain(name) and len(name) <= 60 else "Part"

    def _free_name(self, name: str) -> str:
        taken_names = {each.name for each in self._classes.values()} | {
            "Tensor", "ValueError", "BatchNorm", "Dropout", "Parts", "F", "True", "False", "None",
        }  # fmt: skip
        if name == "Network" and name not in taken_names:
            return name
        taken_names.add("Network")
        found, count = name, 1
        while found in taken_names:
            count += 1
            found = f"{name}{count}"
        return found

    # The text of a class

    def _class_text(self, kind: _Class) -> str:
        words = _parameters(kind)
        same = {name: word for word, names in _columns(kind).items() for name in names}
        lines = [f"class {kind.name}(nn.Module):"]
        signature = ", ".join(
            ["self", *(f"{word}: {type(kind.made[0][name]).__name__}" for word, name in words.items())]
        )
        lines += [f"    def __init__({signature}) -> None:", "        super().__init__()"]
        tree: dict[str, Any] = {}
        for path, text in kind.parts:
            at = iter([name for name in kind.made[0] if name in self._names_of(kind, path)])
            filled = re.sub(r"\{\}", lambda _, at=at: _number(next(at), kind, same), text)  # type: ignore[misc]
            _put(tree, path, filled)
        for name, part in tree.items():
            text = _part(part)
            if isinstance(part, str) and part.startswith("torch.zeros"):
                lines.append(f"        self.register_buffer({name!a}, {text})")
            elif is_plain(name):
                lines.append(f"        self.{name} = {text}")
            elif isinstance(part, str) and part.startswith("nn.Parameter"):
                lines.append(f"        self.register_parameter({name!a}, {text})")
            else:
                lines.append(f"        self.add_module({name!a}, {text})")
        lines.append("")
        comments = [found[0] if len(set(found)) == 1 else "" for found in zip(*kind.comments, strict=True)]
        for line, comment in zip(kind.forward, comments, strict=True):
            lines.append(f"    {line}" + (f"  # {comment}" if comment and len(line) + len(comment) < _LONGEST else ""))
        return "\n\n" + "\n".join(line for text in lines for line in _wrapped(text)) + "\n"

    def _names_of(self, kind: _Class, path: Path) -> set[str]:
        own: dict[Path, set[str]] = {}
        at = iter(kind.made[0])
        for part, text in kind.parts:
            count = text.count("{}")
            own[part] = {next(at) for _ in range(count)}
        return own[path]


def _columns(kind: _Class) -> dict[str, list[str]]:
    """The numbers that differ between a class's blocks: by a word for each, the names of all that go with it."""
    columns: dict[tuple[Any, ...], list[str]] = {}
    for name in kind.made[0]:
        column = tuple(made[name] for made in kind.made)
        if len(set(map(repr, column))) > 1:
            columns.setdefault(column, []).append(name)
    return {names[0]: names for names in columns.values()}


def _parameters(kind: _Class) -> dict[str, str]:
    """The arguments of a class, and which number of a block each is."""
    return {word if is_plain(word) else f"p_{at}": word for at, word in enumerate(_columns(kind))}


def _number(name: str, kind: _Class, same: Mapping[str, str]) -> str:
    if name not in same:
        return repr(kind.made[0][name])
    return next(word for word, of in _parameters(kind).items() if of == same[name])


def _put(tree: dict[str, Any], path: Path, text: str) -> None:
    *above, name = path
    for part in above:
        tree = tree.setdefault(part, {})
    tree[name] = text


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    plain = ", ".join(f"{name}={_part(each)}" for name, each in part.items() if is_plain(name))
    other = ", ".join(f"{name!a}: {_part(each)}" for name, each in part.items() if not is_plain(name))
    return f"Parts({', '.join(filter(None, [plain, f'**{{{other}}}' if other else '']))})"


def _wrapped(line: str) -> Iterator[str]:
    """A long line in several, broken within the brackets that it ends with."""
    indent = line[: len(line) - len(line.lstrip())]
    code = line.partition("  # ")[0] if line.count("'") == 0 and line.count('"') == 0 else line
    if len(line) <= 120 or not code.rstrip().endswith((")", ") -> None:")) or code != line:
        yield line
        return
    closed = line.rfind(")")
    open_at: list[int] = []
    commas: dict[int, list[int]] = {}  # by the bracket that they stand in
    quote, escaped = "", False
    for at, sign in enumerate(line[:closed]):
        if quote:
            quote = "" if sign == quote and not escaped else quote
            escaped = sign == "\\" and not escaped
        elif sign in "'\"":
            quote = sign
        elif sign in "([{":
            open_at.append(at)
        elif sign in ")]}":
            open_at.pop()
        elif sign == "," and open_at:
            commas.setdefault(open_at[-1], []).append(at)
    opened = open_at[-1]
    ends = [opened, *commas.get(opened, []), closed]
    inside = [line[start + 1 : end].strip() for start, end in pairwise(ends)]
    is_call = line[opened - 1].isalnum() or line[opened - 1] in "_)]"
    yield line[: opened + 1]
    for part in filter(None, inside):
        yield f"{indent}    {part}" + ("," if is_call or len(ends) > 2 else "")  # one alone would be a tuple
    yield f"{indent}{line[closed:]}"
