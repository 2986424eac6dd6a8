"""A map may come from anywhere: whatever is in it, it is a map, or one error that says where the fault stands."""

from __future__ import annotations

import json
import os
import random
import re
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import yaml

import ppls
from ppls.errors import MapError
from ppls.mappings.map_file import load_map, port_maps, shipped_maps
from tests.checkpoints import save
from tests.material import SAMPLES

HEAD = """\
format: 2
architecture: Toy
target: none
layers: {conv: {weight: weight}}
"""
MODULES = "modules:\n  - [blocks.<i>, layers.<i>, conv]\n"
TOY = HEAD + MODULES

# What stands behind a whole map, on its seventh line; or a map as a whole.
SECTIONS = [
    "config: {a: {default: !!bool abc}}",
    "config: {a: {default: !!int ''}}",
    "config: {a: {default: !!int abc}}",
    "config: {a: {default: !!float abc}}",
    "config: {a: {default: !!timestamp abc}}",
    "config: {a: {default: !!null abc}}",
    "config: {a: {default: !!binary aGk=}}",
    "config: {a: {default: !!set {b}}}",
    "config: {a: {default: !!omap [b: 1]}}",
    "config: {a: {default: !!python/object/apply:os.system [ls]}}",
    "config: {a: {default: !mine 1}}",
    "config: {a: {default: ! 1}}",
    "config: {a: {default: 2020-13-13}}",
    "config: {a: {default: 2020-12-12}}",
    "config: {a: {default: .nan}}",
    "config: {a: {default: .inf}}",
    "config: {a: {default: 3000000000}}",
    f"config: {{a: {{default: {'9' * 5000}}}}}",
    f"config: {{a: {{default: 1{':1' * 500}}}}}",
    "config: {a: {default: 'import os'}}",
    "config: {a: {default: [[[[[[1]]]]]]}}",
    "config: {a: {default: 1, one_of: 5}}",
    "config: {a: {default: 1, one_of: {b: 1}}}",
    "config: {a: {default: 1, target_only: 3}}",
    "config: {a: {default: 1, target_only: 'yes'}}",
    "config: {a: 'blocks.0.weight[-5]'}",
    "config: {a: 'blocks.0.weight[32]'}",
    "config: {a: 'blocks.0.weight[1.5]'}",
    "config: {a: 'blocks.0.weight[true]'}",
    "config: {a: 'blocks.0.weight[0][0]'}",
    "config: {a: 'blocks.0.weight[²]'}",
    "config: {a: '[0]'}",
    "config: {a: ''}",
    "config: {a: blocks.0.weight}",
    "config: {a: 'blocks.<i>.<j>.weight[0]'}",
    "config: {a: 'blocks. 0.weight[0]'}",
    f"config: {{a: '{'b' * 600}[0]'}}",
    "config: {a: {size: 5}}",
    "config: {a: {size: []}}",
    "config: {a: {size: ['blocks.0.weight[0]', 'blocks.1.weight[0]'], times: 2}}",
    "config: {a: {size: ['blocks.<i>.weight[0]'], index_in: features}}",
    "config: {a: {size: 'blocks.0.weight[0]', index_in: features}}",
    "config: {a: {size: 'blocks.<i>.weight[0]', index_in: features}}",
    "config: {a: {size: 'blocks.<i>.weight[0]', index_in: 5}}",
    "config: {a: {size: 'blocks.<i>.weight[0]', among: blocks.<i>.weight, absent: -1}}",
    "config: {a: {size: 'blocks.<i>.weight[0]', among: blocks.<i>.weight}}",
    "config: {a: {size: 'blocks.0.weight[0]', among: blocks.<i>.weight, absent: 1}}",
    "config: {a: {size: 'blocks.0.weight[0]', over: 0}}",
    "config: {a: {size: 'blocks.0.weight[0]', over: -1.5}}",
    "config: {a: {size: 'blocks.0.weight[0]', over: .inf}}",
    "config: {a: {size: 'blocks.0.weight[0]', over: true}}",
    "config: {a: {size: 'blocks.<i>.weight[0]', over: nothing}}",
    "config: {a: {size: 'blocks.<i>.weight[0]', over: a}}",
    "config: {a: {size: 'blocks.0.weight[0]', times: []}}",
    "config: {a: {size: 'blocks.0.weight[0]', times: [.nan]}}",
    "config: {a: {size: 'blocks.0.weight[0]', times: 0}}",
    f"config: {{a: {{size: 'blocks.0.weight[0]', times: {'9' * 400}}}}}",
    "config: {a: {resize: cubic}}",
    "config: {a: {resize: nearest, default: bilinear}}",
    "config: {a: {present: [b]}}",
    "config: {a: {present: b, count: 'c.<i>'}}",
    "config: {a: {count: blocks.<i>.weight, defaults: [1]}}",
    "config: {a: {count: blocks.<i>.weight, defaults: [[1], [2]]}}",
    "config: {a: {count: blocks.<i>.weight, default: [1], defaults: [[1]]}}",
    "config: {a: {count: blocks.<i>.weight, default: 5}}",
    "config: {a: {count: [], default: [1]}}",
    "config: {a: {count: 5}}",
    "config: {a: {choose: [{value: 1, where: {b: any}}]}}",
    "config: {a: {by: {}, is: {1: 2}}}",
    "config: {a: {by: {shape: b}}}",
    "config: {a: {by: {shape: b}, is: {}}}",
    "config: {a: {by: {shape: b}, is: {1: some}}}",
    "config: {a: {by: {shape: b}, is: {1: [0y]}}}",
    "config: {a: {by: {shape: b}, is: {1: [yy]}}}",
    "config: {a: {by: {shape: b}, is: {1: [-1]}}}",
    "config: {a: {by: {shape: b}, is: {'import os': any}}}",
    "config: {a: {by: {shape: b}, is: {1: [1], 1: [2]}}}",
    "config: {a: {by: {shape: 'b.<i>'}, is: {1: any}}}",
    "config: {a: {by: {weight: b}, is: {1: any}}}",
    "config: {a: {by: {y: b}, is: {1: any}}}",
    "config: {a: {by: {y: 'b[0]'}, is: {1: any}}}",
    "config: {a: {by: {count: b}, is: {1: 2}}}",
    "config: {a: {by: {count: 'b.<i>'}, is: {1: true}}}",
    "config: {a: {by: {count: 'b.<i>', has: c}, is: {1: 2}}}",
    "config: {a: {by: {count: 'b.<i>', has: c}, is: {1: [2, 3]}}}",
    "config: {a: {by: {has: c}, is: {1: 'yes'}}}",
    "config: {a: {by: {has: c}, is: {1: true}, refuse: {'d d': why}}}",
    "config: {a: {by: {has: c}, is: {1: true}, refuse: [d]}}",
    "config: {a: 5000000}",
    "config: {a: [[[[[[1]]]]]]}",
    "config: {a: .inf}",
    "config: {a: 2020-12-12}",
    "config: {a: {}}",
    "config: {a: null}",
    "config: {pretrained: {default: evil}}",
    "config: {backbone.pretrained: {default: evil}}",
    "config: {a: {default: 1}, a.b: {default: 2}}",
    "config: {'a b': {default: 1}}",
    "config: {__class__.x: {default: 1}, '1': {default: 1}}",
    "config: [a]",
    "eras: [{era: x, has: blocks}]",
    "eras: {era: x}",
    "eras: [{has: [a]}]",
    "eras: [{era: x, only: 5}]",
    "eras: [{era: x, has: [a], renamed: {b: [c]}}]",
    "target: foo",
    "target: ''",
    "target: [ppls.models.PPLiteSeg]",
    "target: ppls.models",
    "target: ppls.models.",
    "target: .PPLiteSeg",
    "target: ppls..models.PPLiteSeg",
    "target: 'ppls.models.PPLiteSeg; import os'",
    'target: "ppls.models.PP\\0LiteSeg"',
    "keep: a",
    "keep: [[a]]",
    'keep: ["a\\0b"]',
    'keep: ["a\\eb"]',
    'keep: ["a\\u202eb"]',
    "keep: ['<i><j>']",
    "keep: ['a.<i>2<j>']",
    "keep: [a.<i:1>]",
    f"keep: [a.<i:{'9' * 5000}..>]",
    f"keep: [a.<i+{'9' * 50}>]",
    f"keep: [{'a' * 600}]",
    "keep: [a<b><c>]",
    "optional: {a: {modules: b}}",
    "optional: {a: {modules: b, kept: maybe}}",
    "optional: {a: [[b]]}",
    "optional: {a: null}",
    "constants: {a: {value: x, shape: [1], beside: b}}",
    "constants: {a: {value: 1.0, shape: [-1], beside: b}}",
    "constants: {a: {value: 1.0, shape: [100000, 100000], beside: b}}",
    "constants: {a: {value: 1.0, shape: 5, beside: b}}",
    "constants: {a.<i>: {value: 1.0, shape: [1], beside: b}}",
    "constants: {a: {table: x, beside: b}}",
    "constants: {a: {table: window_offsets}}",
    "constants: {a: {table: window_offsets, shape: [1], beside: b}}",
    "constants: [a]",
    "duplicates: {a: b.<i-1>}",
    "duplicates: {a: [b]}",
    "duplicates: {a: {of: b, written: 1}}",
    "duplicates: {a: {written: true}}",
    "duplicates: {a: 'b.<i>'}",
    "duplicates: {'a.<i>': 'b.<i+depth>'}",
    "aliases: {a: b}",
    "dead: {a: {why: b, written: {w: [x]}}}",
    "dead: {a: {why: b, written: {w: [-1]}}}",
    "dead: {a: {why: b, written: {w: [2*x]}}}",
    "dead: {a: {why: b, written: {w: [2]}, only: {x: 2}}}",
    "dead: {a: {why: b, written: {w: [x*2]}}}",
    "dead: {a: {why: b, written: {w: ['b[40]']}}}",
    "dead: {a: {why: b, written: {w: ['b.<i>[0]']}}}",
    "dead: {a: {why: b, written: {w: 5}}}",
    "dead: {a: {written: {w: [1]}}}",
    "dead: {'a.<i>': {why: b, written: {w: [1]}}}",
    f"dead: {{a: {{why: b, written: {{w: [{'9' * 5000}]}}}}}}",
    "dead: {a: [b]}",
    "dead: [a]",
    'dead: {a: "b\\ec"}',
    'layers2: {"a\\0": {}}',
    'blocks: {"a\\0": {}}',
    'recipes: {"a\\u202e": {}}',
    "numerics: {conv: {epsilon: .nan}}",
    "numerics: {conv: {epsilon: [1]}}",
    "numerics: {conv: 5}",
    "presets: {a: {b: 1}}",
    "presets: {a: 5}",
    "recipes: {a: {b: 1}}",
    "recipes: {a: [1]}",
    "config: {a: {default: 1}}\nrecipes: {r: {a: x}}",
    "config: {a: {default: 1}}\npresets: {r: {a: [1]}}",
    "published: {a: 1}",
    "classifiers: a",
    "classifiers: [a]",
    "classifiers: [blocks]",
    "exponents: a",
    "exponents: [a]",
    "upsample: [a]",
    "include: {backbone: {map: stdc, source: a, target: a}}",
    "backbones: [../stdc]",
    'backbones: ["st\\0dc"]',
    "backbones: stdc",
    "backbones: [stdc, [any]]",
    "backbones: [any]",
    "backbones: [pp_liteseg]",
    "backbones: [nothing]",
    "backbones: {stdc: backbone}",
    "features: blocks.0.weight[0]",
    "like: ../paddleseg/pp_liteseg",
    "like: /dev/zero",
    "like: toy",
    "like: [pp_liteseg]",
    "rest: same",
    "rest: other",
    "prefixes: {a: [b]}",
    "prefixes: [a]",
    "prefixes: {a: b}\nkeep: [$c.d]",
    "keep: [$a.d]",
    "prefixes: {a: 'b c'}\nkeep: [$a.d]",
    "prefixes: {a: b}\ndead: {$a.c: x, b.c: y}",
    "numerics: {nothing: {epsilon: 1.0}}",
    "constants: {a: {value: 1.0, shape: [1], beside: b, only: {c: 1}}}",
    "config: {c: {default: 1}}\nconstants: {a: {value: 1.0, shape: [1], beside: b, only: {c: x}}}",
    "eras: [{era: x, only: {c: 1}}]",
    "tensors: [{to: a}]",
    "tensors: [{from: a, to: [], split: {dim: 0}}]",
    "tensors: [{from: a, to: [b, c], split: {dim: -1}}]",
    "tensors: [{from: a, to: [b, c], split: 0}]",
    "tensors: [{from: a, to: [b, c], split: {dim: 0}, concat: {dim: 0}}]",
    "tensors: [{to: [a, b], fold_bias: {mean: c, bias: d}}]",
    "blocks: {b: {x: [y]}}",
    "blocks: {b: {x: [y, nothing]}}",
    "blocks: {b: {x: [y, conv, 5]}}",
    "blocks: {b: {x: [y, b]}}\nmodules: [[c, d, b]]",
    "blocks: {b: {x: [y, c]}, c: {x: [y, b]}}\nmodules: [[c, d, b]]",
    "tensors: [{from: blocks.0.weight, to: other}]",
    "tensors: [{from: other, to: layers.0.weight}]",
    "source_preset: subprocess.<preset>",
    "unknown: 1",
    "<<: {dead: {a: b}}",
    "dead: {a: b, a: c}",
    "? [dead]\n: {a: b}",
    "? {dead: x}\n: {a: b}",
    "dead: &x {a: *x}",
    "dead: *nothing",
    "dead: {a: b",
    "\tdead: {a: b}",
    "--- \ndead: {a: b}",
    "dead: " + "[" * 100_000,
    "dead: " + "{a: " * 100,
    "keep: [" + "a," * 150_000 + "]",
]
WHOLE = [
    "",
    "# nothing but a comment\n",
    "null\n",
    "5\n",
    "[]\n",
    "{}\n",
    "format: 2\n",
    TOY.replace("format: 2", "format: 1"),
    TOY.replace("format: 2", "format: true"),
    TOY.replace("format: 2", "format: [2]"),
    TOY.replace("format: 2", "format: 2.0"),
    TOY.replace("format: 2", "format: 99999999999999999999"),
    TOY.replace("Toy\ntarget", "[Toy]\ntarget"),
    TOY.replace("architecture: Toy", "backbone: Toy"),
    TOY.replace("conv]", "backbone]"),
    TOY.replace("blocks.<i>", "b.<x:l|r>"),
    TOY.replace("blocks.<i>, layers.<i>", "b.<x:l|r>, c.<x:l|r|m>"),
    TOY.replace("blocks.<i>, layers.<i>", "b.<x:l|r>, c.<x:l|l>"),
    TOY.replace("blocks.<i>", "blocks.<i:1..1>"),
    TOY.replace("architecture: Toy\n", ""),
    TOY.replace("architecture: Toy", "architecture: ''"),
    TOY.replace("target: none", "source: [paddleseg]"),
    TOY.replace("target: none", "source: os.system"),
    TOY.replace("{weight: weight}}", "{weight: [weight]}}"),
    TOY.replace("{weight: weight}}", "{weight: {to: w, transpose: [0, 2]}}}"),
    TOY.replace("{weight: weight}}", "{weight: {to: w, transpose: 5}}}"),
    TOY.replace("{weight: weight}}", "{weight: {transpose: [1, 0]}}}"),
    TOY.replace("{weight: weight}}", "{weight.<i>: weight}}"),
    TOY.replace("conv]", "conv, 5]"),
    TOY.replace("conv]", "conv, {weight: [negate, 5]}]"),
    TOY.replace("conv]", "conv, {weight: {permute: {dim: 0, order: [0, 0]}}}]"),
    TOY.replace("conv]", "conv, {weight: {permute: {dim: 99, order: [0]}}}]"),
    TOY.replace("conv]", "conv, {weight: {turn: 1}}]"),
    TOY.replace("conv]", "conv, {epsilon: x}]"),
    TOY.replace("[blocks.<i>, layers.<i>, conv]", "[[blocks], layers, conv]"),
    TOY.replace("[blocks.<i>, layers.<i>, conv]", "[b<i><j><k><l><m><n><o><i>, c.<i>.<j>.<k>.<l>.<m>.<n>.<o>, conv]"),
    TOY.replace("[blocks.<i>, layers.<i>, conv]", "5"),
    TOY.replace("modules:\n  - ", "modules: "),
    "%TAG ! tag:x,2000:\n---\n" + TOY,
]
BYTES = [
    TOY.encode("utf-16"),
    TOY.encode() + b"# \xff\n",
    TOY.encode() + b"\x00",
    TOY.encode() + b"\x1b",
    b"\x80\x02\xff\x00",
    b"\xef\xbb\xbf",
    b"#" * (1 << 20) + b"\n",
    random.Random(0).randbytes(3000),
]
MALFORMED = [
    *((f"{TOY}{section}\n".encode(), 7) for section in SECTIONS),
    *((text.encode(), 0) for text in WHOLE),
    *((content, 0) for content in BYTES),
]


@pytest.mark.parametrize(("content", "line"), MALFORMED, ids=[repr(content[-60:]) for content, _ in MALFORMED])
def test_a_malformed_map_is_one_error_with_its_place(tmp_path: Path, content: bytes, line: int) -> None:
    path = tmp_path / "toy.yaml"
    path.write_bytes(content)
    begin = time.process_time()
    with pytest.raises(MapError) as error:
        load_map(path)
    assert time.process_time() - begin < 5
    message = str(error.value)
    assert re.match(rf"{re.escape(str(path))}(:\d+)?: ", message), message
    assert "\n" not in message
    assert message.isprintable()
    if line:  # of what was put there, or of what it is held against
        assert int(message.removeprefix(f"{path}:").split(":")[0]) >= line


def test_the_map_that_these_are_made_of_is_right(tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text(TOY)
    assert len(load_map(path).rules) == 1
    path.write_bytes(b"\xef\xbb\xbf" + TOY.replace("\n", "\r\n").encode())  # as an editor on Windows has it
    assert len(load_map(path).rules) == 1


def test_names_are_what_is_written_even_where_yaml_sees_a_number_or_a_truth_value(tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text(HEAD + "modules:\n  - [1.0, off, conv]\n  - [010, ~x, conv]\n")
    rules = load_map(path).rules
    assert [(str(rule.sources[0]), str(rule.targets[0])) for rule in rules] == [
        ("1.0.weight", "off.weight"),
        ("010.weight", "~x.weight"),
    ]


def test_what_is_no_file_is_no_map(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.yaml")
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    for path in (tmp_path, tmp_path / "fifo.yaml", tmp_path / "loop.yaml", Path("/dev/zero"), Path("a\0b.yaml")):
        with pytest.raises(MapError, match="cannot be read"):
            load_map(path)


def test_a_dimension_beyond_the_tensors_is_one_problem(tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text(TOY + "config: {a: 'blocks.0.weight[7]'}\n")
    checkpoint = save(tmp_path / "m.pdparams", {"blocks.0.weight": np.zeros((2, 2), np.float32)})
    with pytest.raises(ppls.ConversionError, match=r"blocks\.0\.weight has the shape \[2, 2\], no dimension 7"):
        ppls.convert(checkpoint, map=path)


def test_an_operation_that_does_not_fit_its_tensor_is_one_problem(tmp_path: Path) -> None:
    checkpoint = save(tmp_path / "m.pdparams", {"a": np.zeros((2, 2), np.float32)})
    path = tmp_path / "toy.yaml"
    for operation in ("split: {dim: 7}", "split: {dim: 0}"):
        path.write_text(TOY + f"tensors: [{{from: a, to: [b, c, d], {operation}}}]\n")
        with pytest.raises(ppls.ConversionError, match="has no 3 equal parts along dim"):
            ppls.convert(checkpoint, map=path)


@pytest.mark.parametrize("seed", range(4))
def test_a_mutated_map_is_a_map_or_one_error(tmp_path: Path, seed: int) -> None:
    paths = [*shipped_maps().values(), *(path.with_name(f"{path.stem}.yaml") for path in port_maps().values())]
    source = random.Random(seed)
    path = tmp_path / "mutated.yaml"
    pieces = [
        b"<i>",
        b"[",
        b"]",
        b"{",
        b"}",
        b": ",
        b"- ",
        b"!!int ",
        b"&a ",
        b"*a",
        b"\n",
        b"-1",
        b"1.5",
        b"null",
        b"'",
        b"~",
    ]
    refused = 0
    for _ in range(150):
        content = bytearray(source.choice(paths).read_bytes())
        for _ in range(source.randint(1, 3)):
            at = source.randrange(len(content))
            kind = source.randrange(4)
            if kind == 0:
                content[at : at + source.randint(1, 20)] = b""
            elif kind == 1:
                content[at:at] = source.choice(pieces)
            elif kind == 2:
                content[at] = source.randrange(256)
            else:
                end = source.randrange(len(content))
                content[at:at] = content[min(at, end) : max(at, end)][:60]
        path.write_bytes(bytes(content))
        try:
            load_map(path)
        except MapError:
            refused += 1
    assert refused > 50


HOSTILE = SAMPLES / "hostile2"


@pytest.mark.parametrize("path", sorted((HOSTILE / "maps").glob("*.yaml")), ids=lambda path: path.name)
def test_the_maps_that_broke_the_last_release_are_refused(path: Path, tmp_path: Path) -> None:
    for source in ("upstream.Sized", "paddleseg.models.Sized"):  # for the class that they name, and for their own fault
        copy = tmp_path / path.name
        text = path.read_text().replace("upstream.Sized", source).replace("format: 1", "format: 2")
        copy.write_text(text.replace("blocks.0.weight, dim: -5", "'blocks.0.weight[-5]'"))
        begin = time.process_time()
        with pytest.raises(MapError, match=rf"{re.escape(path.name)}:\d+: "):
            load_map(copy)
        assert time.process_time() - begin < 1


def test_a_worst_case_of_every_kind_is_cheap(tmp_path: Path) -> None:
    lots = 1 << 20
    rows = "".join(f"  - [a{i}, b{i}, k]\n" for i in range(8000))
    kinds = "layers: {k: {" + ", ".join(f"t{i}: t{i}" for i in range(100)) + "}}\n"
    head = "format: 2\narchitecture: Toy\ntarget: none\n"
    texts = {
        "many rows of many tensors": head + kinds + "modules:\n" + rows,
        "many rows of no tensor": head + "layers: {k: {}}\nmodules:\n" + rows * 4,
        "many unequal rows": head + "layers: {k: {w: w}}\nmodules:\n" + rows,
        "blocks of many layers": head
        + "layers: {k: {}}\nblocks: {b: {"
        + ", ".join(f"t{i}: [t{i}, k]" for i in range(100))
        + "}}\nmodules:\n"
        + "".join(f"  - [a{i}, b{i}, b]\n" for i in range(20_000)),
        "blocks of blocks": head
        + "layers: {k: {}}\nblocks: {b0: {}, "
        + ", ".join(f"b{i}: {{{', '.join(f't{j}: [t{j}, b{i - 1}]' for j in range(100))}}}" for i in range(1, 8))
        + "}\nmodules:\n  - [a, b, b7]\n",
        "lists of words": head
        + "modules:\n"
        + "".join(
            f"  - [a{i}.<x:{'|'.join(map(str, range(60)))}>.<y:a|b|c|d>, b.<x>.<y>, conv]\n" for i in range(2000)
        ),
        "prefixes of prefixes": head
        + "prefixes: {a: "
        + "x" * 490
        + "}\nmodules:\n  - [a, b, conv]\nkeep: ["
        + "$a, " * 199
        + "$a]\n",
        "aliases of aliases": head
        + "x0: &x0 [1]\n"
        + "".join(f"x{i}: &x{i} [*x{i - 1}, *x{i - 1}]\n" for i in range(1, 60)),
        "one long name": TOY + "keep: [" + "a" * (lots - 200) + "]\n",
        "many indices": TOY + "keep: ['" + "<i>." * 100_000 + "']\n",
        "many digits": TOY + "keep: ['" + "1" * 500_000 + "']\n",
        "many options": TOY + "config: {" + ", ".join(f"o{i}: {{default: 1}}" for i in range(1000)) + "}\n",
        "many patterns": TOY + "dead: {" + ", ".join(f"d<i>.{i}: x" for i in range(1000)) + "}\n",
        "tags": "".join(f"%TAG !{i}! a\n" for i in range(60_000)) + "---\n" + TOY,
        "brackets": TOY + "keep: " + "[" * 500_000,
        "a long order": TOY.replace("conv]", f"conv, {{weight: {{permute: {{dim: 0, order: {[*range(12_000)]}}}}}}}]"),
    }
    path = tmp_path / "toy.yaml"
    for name, text in texts.items():
        path.write_text(text)
        begin = time.process_time()
        with suppress(MapError):
            load_map(path)
        assert time.process_time() - begin < 10, name


def test_a_map_of_many_patterns_for_a_file_of_many_tensors_is_refused_before_the_work(tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    many = ", ".join(f"<i>.{i}: x" for i in range(200))
    path.write_text(TOY + f"dead: {{{many}}}\nduplicates: {{{many}}}\n")
    tensors = {f"{i}.w.1.2.3": np.zeros(1, np.float32) for i in range(6000)}
    checkpoint = save(tmp_path / "m.pdparams", tensors)
    with pytest.raises(ppls.ConversionError, match="too many patterns for a file of 6,000 tensors"):
        ppls.convert(checkpoint, map=path)


def test_pyyaml_means_the_same_by_the_shipped_maps() -> None:
    from ppls.yaml_documents import YamlReader

    for path in [*shipped_maps().values(), *(path for path in port_maps().values())]:
        reader = YamlReader(lambda place, why: MapError(f"{place}: {why}"))
        assert reader.document(path, reader.read(path)).plain() == json.loads(
            json.dumps(yaml.safe_load(path.read_bytes()))
        )
