"""YAML means what PyYAML's safe loader makes of it, costs little whatever it says, and knows its lines."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
import yaml

from ppls.errors import UsageError
from ppls.schema import Node
from ppls.yaml_documents import MOST_BYTES, YamlReader


def read(text: str, **options: Any) -> Node:
    reader = YamlReader(lambda place, why: UsageError(f"{place}: {why}"), **options)
    return reader.text(text, lambda line: f"file:{line}")


SCALARS = [
    *("1", "-1", "0", "010", "0x1F", "0b101", "1_000", "1:30", "1.5", ".5", "1.", "1.0e-5", "1e5", "-.inf", ".nan"),
    *(
        "true",
        "no",
        "On",
        "y",
        "~",
        "null",
        "",
        "x",
        "'5'",
        '"a\\nb"',
        "2020-12-12",
        "<",
        "a b",
        "!!str 5",
        "!!int '7'",
    ),
]


def random_document(source: random.Random, depth: int = 3) -> str:
    kind = source.randrange(3) if depth else 0
    if kind == 0:
        return source.choice([scalar for scalar in SCALARS if not scalar.startswith("!!") or depth])
    inner = [random_document(source, depth - 1) for _ in range(source.randint(0, 4))]
    if kind == 1:
        return "[" + ", ".join(item or "~" for item in inner) + "]"
    return "{" + ", ".join(f"{source.choice('abcdef')}{i}: {item or '~'}" for i, item in enumerate(inner)) + "}"


def test_a_document_means_what_pyyaml_makes_of_it() -> None:
    source = random.Random(0)
    for _ in range(500):
        text = random_document(source)
        expected = yaml.safe_load(text)
        assert repr(read(text).plain()) == repr(expected), text


@pytest.mark.parametrize(
    "text",
    [
        "a:\n- 1\n-  - 2\n   - 3\n",
        "a: &x {b: 1}\nc: *x\nd: [*x, *x]\n",
        "a: |\n  x\n  y\nb: >-\n  x\n  y\n",
        "? a\n: b\n",
        "%YAML 1.1\n---\na: 1\n...\n",
        "# nothing\na: 1 # one\n",
        "a: 'it''s'\n",
    ],
)
def test_every_style_is_read(text: str) -> None:
    assert read(text).plain() == yaml.safe_load(text)


def test_lines_are_those_of_the_file() -> None:
    top = read("a: 1\n\nb:\n  - x\n  - {c: 2,\n     d: 3}\n")
    assert [node.line for node in (top, top.value["a"], top.value["b"])] == [1, 1, 4]
    inner = top.value["b"].value[1]
    assert (inner.line, inner.value["d"].line, inner.value["d"].key, inner.value["d"].key_place) == (
        5,
        6,
        "d",
        "file:6",
    )


def test_a_key_that_stands_twice_is_refused_or_the_last_counts() -> None:
    with pytest.raises(UsageError, match="file:2: 'a' stands here twice"):
        read("a: 1\na: 2\n")
    assert read("a: 1\na: 2\n", unique=False).plain() == {"a": 2}


ATTACKS = {
    "items": "- \n" * 340_000,
    "entries": "[" + "a," * 500_000 + "]",
    "keys": "".join(f"k{i}: 1\n" for i in range(90_000)),
    "anchors": "".join(f"- &a{i} x\n" for i in range(80_000)),
    "aliases": "- &a x\n" + "- *a\n" * 200_000,
    "aliases of aliases": "x0: &x0 [1]\n" + "".join(f"x{i}: &x{i} [*x{i - 1}, *x{i - 1}]\n" for i in range(1, 99)),
    "brackets": "[" * 1_000_000,
    "braces": "{a: " * 250_000,
    "dashes": "- " * 500_000,
    "question marks": "? " * 500_000,
    "indentation": "".join(" " * i + "a:\n" for i in range(1400)),
    "simple keys": "[" + "[a]: b, " * 120_000 + "]",
    "comments": "#\n" * 500_000,
    "one comment": "#" * 1_000_000,
    "escapes": '"' + "\\u0041" * 170_000 + '"',
    "folded lines": "'" + "a\n\n" * 330_000 + "'",
    "a block": "|\n" + " x\n" * 330_000,
    "digits": "9" * 1_000_000,
    "sexagesimal": "1" + ":1" * 500_000,
    "underscores": "1" + "_" * 999_999,
    "a fraction": "1." + "0" * 999_999,
    "a date": "2001-01-01 " + " " * 900_000,
    "tag handles": "".join(f"%TAG !{i}! b\n" for i in range(70_000)) + "--- a\n",
    "later tag handles": "a\n...\n" + "".join(f"%TAG !{i}! b\n" for i in range(70_000)) + "--- a\n",
    "a tag": "!" + "%61" * 330_000 + " x",
    "documents": "--- a\n" * 160_000,
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_megabyte_of_anything_takes_little(name: str) -> None:
    assert len(ATTACKS[name]) < 1.1 * MOST_BYTES
    begin = time.process_time()
    try:
        read(ATTACKS[name])
    except UsageError as error:
        assert str(error).startswith("file:")  # noqa: PT017
    assert time.process_time() - begin < 5
