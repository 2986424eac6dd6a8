"""Values that have broken parsers: numbers, texts and names that a file may hold where another was meant."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.nasty import NASTY


class Raw(str):
    """Text that stands in a document as it is: a number that Python would write otherwise."""


NUMBERS: tuple[Any, ...] = (
    0, 1, -1, 2, 3, 7, 255, 256, 65_535, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 53) + 1, (1 << 63) - 1, 1 << 63,
    1 << 64,
    1 << 70, -(1 << 63), -(1 << 70), 10**40, 0.0, -0.0, 0.5, 1.5, -0.1, 1e-45, 1e-320, 1e16, 1e308,
    float("nan"), float("inf"), float("-inf"), Raw("1e999"), Raw("-1e999"), Raw("9" * 5000), Raw("0." + "3" * 5000),
)  # fmt: skip
SHOWN = (
    *NASTY.values(),
    "{{ 'FILLED' ~ 'IN' }}",
    "\x00",
    "\n---\nlicense: mit\n---\n",
    "\n<!-- x",
    '" onmouseover="x',
    "[verified](javascript:alert(1))",
)
NAMES = (
    "subprocess.getoutput", "os.system", "builtins.eval", "posix.system", "ppls.models.importlib.import_module",
    "ppls.models.registry.importlib.sys.exit", "ppls.models.Nothing", "ppls.models.PPLiteSeg",
    "ppls.models.base.torch.load",
    "antigravity", "this", "__class__", "__init__", "__import__", "__dict__.__class__", "foo", ".", "..", "a..b",
    ".a", "a.",
)  # fmt: skip
PATHS = (
    "../outside", "../../../../etc/passwd", "/etc/passwd", "/dev/zero", "/dev/full", "/proc/self/mem",
    "/proc/self/fd/0",
    "~root/x", "a/../b", "./x", "x/", "//x", "C:\\x", "\\\\host\\x", "con", "-rf", "--force", "x\x00y", "a" * 252,
    "a" * 300,
    "b/" * 2000 + "x", " ", "arrays/x.npy", "file:///etc/passwd", "~",
)  # fmt: skip
WORDS = (
    "", "a", "nan", "inf", "null", "true", "None", "0", "1e3", "0x10", "0o7", "1_000", "12:30:45", "2024-02-30",
    "é" * 40,
    "a" * 5000, "%s%n%d", "{0.__class__}", "$HOME", "\\", "'", '"', "<i>", "<i+1>", "<i:0..>", "*", "&a", "!!int",
    "float32", "bfloat16",
    "object", "|O", "(", ",", "=", "key=value", "backbone.type", "type", "_base_", "_inherited_", "<<",
    "__metadata__",
)  # fmt: skip
TEXTS = SHOWN + NAMES + PATHS + WORDS


def scalar(random: Random) -> Any:
    """Any hostile value without parts."""
    kind = random.random()
    if kind < 0.4:
        return random.choice(NUMBERS)
    return random.choice(TEXTS) if kind < 0.85 else random.choice((None, True, False))


def text(random: Random, value: str) -> str:
    """Another text in the place of this one: a hostile one, or this one changed."""
    change = random.randrange(9)
    at = random.randrange(len(value) + 1)
    if change < 3:
        return random.choice(TEXTS)
    if change == 3:
        return value[:at] + random.choice(SHOWN) + value[at:]
    if change == 4:
        return value[:at]
    if change == 5:
        return (
            value[:at]
            + chr(random.choice((0, 10, 27, 127, 133, 0x202E, 0xD800, 0xFFFF, random.randrange(0x3000))))
            + value[at:]
        )
    if change == 6:
        return value + "." + random.choice(NAMES)
    if change == 7:
        return value * random.choice((2, 3, 1000))
    return value.swapcase() or "x"


def number(random: Random, value: float) -> Any:
    """Another number in the place of this one."""
    change = random.randrange(6)
    if change < 2:
        return random.choice(NUMBERS)
    try:
        return (value + random.choice((-1, 1, 0.5)), -value, value * random.choice((2, 10, 1 << 32)), [value] * 3)[
            change - 2
        ]
    except OverflowError:
        return 0
