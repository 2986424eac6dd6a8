"""What a file of 1 MB costs at most, whatever it is: 10 s of CPU and 1 GiB, to read it and to do something with it."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import ppls
from benchmarks.convert import package_of_many_maps
from tests.checkpoint import worst_cases
from tests.checkpoint.worst_cases import LARGEST, Files
from tests.fuzz.limits import measured
from tests.material import SAMPLES

HOSTILE = SAMPLES / "hostile2"

Use = Callable[[Path], object]


def read_and_convert(path: Path) -> None:
    for array in ppls.read(path).values():
        array.sum()
    ppls.convert(path)


def cost_of(use: Use, path: Path) -> tuple[float, float]:
    """CPU seconds and MB, for a value or one error."""
    with measured() as cost, suppress(ppls.Error):
        use(path)
    return cost.seconds, cost.bytes / 1e6


def excesses(use: Use, folder: Path, cases: Iterator[tuple[str, Files]], every: int) -> list[str]:
    """The cases that cost half of what they may, or more: machines differ."""
    found = []
    for i, (name, files) in enumerate(cases):
        assert sum(map(len, files.values())) <= LARGEST, name
        if i % every:
            continue
        place = folder / str(i)
        place.mkdir()
        for file, content in files.items():
            (place / file).write_bytes(content)
        seconds, megabytes = cost_of(use, place / next(iter(files)))
        print(f"{seconds:6.2f} s {megabytes:5.0f} MB  {name}")
        if seconds > 5 or megabytes > 500:
            found.append(f"{name}: {seconds:.1f} s, {megabytes:.0f} MB")
    return found


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 8])
@pytest.mark.parametrize(
    ("family", "use"),
    [
        (worst_cases.jsons, read_and_convert),
        (worst_cases.programs, read_and_convert),
        (worst_cases.streams, read_and_convert),
        (worst_cases.headers, read_and_convert),
        (worst_cases.tars, read_and_convert),
        (worst_cases.gzips, read_and_convert),
        (worst_cases.torch_files, ppls.convert_back),
    ],
    ids=lambda value: value.__name__,
)
def test_no_file_costs_more_than_it_may(
    tmp_path: Path, family: Callable[[], Iterator[tuple[str, Files]]], use: Use, every: int
) -> None:
    read_and_fail(tmp_path)  # what is imported and opened once is no cost of a file
    assert excesses(use, tmp_path, family(), every) == []


def read_and_fail(folder: Path) -> None:
    (folder / "first.safetensors").write_bytes(safetensors({}))
    for use in (ppls.convert, ppls.convert_back, ppls.load):
        with pytest.raises(ppls.Error):
            use(folder / "first.safetensors")


def safetensors(metadata: dict[str, str], tensors: int = 1) -> bytes:
    header = {"__metadata__": metadata} | {
        f"{i:x}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for i in range(tensors)
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text


CONVERTED = {"format": "pt", "map_sha256": "0", "architecture": "PPLiteSeg", "config": "{}"}


def converted_files() -> Iterator[tuple[str, Files]]:
    for name, changes in (
        ("a deep config", {"config": "[" * 900_000}),
        ("a wide config", {"config": '{"cm_bin_sizes":[' + "1," * 450_000 + "1]}"}),
        ("a config of many options", {"config": json.dumps({f"a{i}": 0 for i in range(60_000)})}),
        ("millions of classes", {"config": '{"num_classes":3000000}'}),
        ("numerics of many patterns", {"numerics": json.dumps({f"a{i}": {} for i in range(60_000)})}),
        ("numerics that are deep", {"numerics": "{" * 900_000}),
        ("a long architecture", {"architecture": "A" * 1_000_000}),
    ):
        yield name, {"m.safetensors": safetensors({**CONVERTED, **changes})}
        yield f"{name}, many tensors", {"m.safetensors": safetensors({**CONVERTED, **changes}, 100)}
    yield "many tensors", {"m.safetensors": safetensors(CONVERTED, 15_000)}
    layers = json.dumps({"backbone": {"type": "STDC1", "layers": [8000] * 3, "block_num": 8000}})
    yield "many tensors and many layers", {"m.safetensors": safetensors({**CONVERTED, "config": layers}, 15_000)}


def test_no_converted_file_costs_more_than_it_may(tmp_path: Path) -> None:
    read_and_fail(tmp_path)
    assert excesses(ppls.load, tmp_path, converted_files(), 1) == []


def hostile_files() -> list[Path]:
    others = (".png", ".yml", ".yaml", ".pt")
    found = sorted(HOSTILE.iterdir())
    return [path for path in found if path.name not in ("maps", "configs") and path.suffix not in others]


def test_the_hostile_files_are_values_or_one_error_as_their_names_say_at_little_cost(tmp_path: Path) -> None:
    assert len(hostile_files()) > 60
    read_and_fail(tmp_path)
    for path in hostile_files():
        try:
            with measured() as cost:
                list(ppls.read(path).values())
            outcome = "ok"
        except ppls.Error:
            outcome = "x"
        expected = path.name.partition("_")[0]
        assert outcome == expected or expected not in ("ok", "x"), path.name
        assert cost.seconds < 5, path.name
        assert cost.bytes < 500e6, path.name


# beside what numpy imports by itself
NOT_IMPORTED = ("huggingface_hub", "jinja2", "PIL", "numpy.typing", "pickletools", "rich", "torch", "yaml", "zipfile")


@pytest.fixture(scope="module")
def of_full_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PP-LiteSeg-T, whose tensors' shapes stand in a table: no model has to be built to know them."""
    folder = tmp_path_factory.mktemp("full")
    ppls.models.PPLiteSeg(num_classes=3).save_pretrained(folder / "model")
    ppls.convert_back(folder / "model", folder / "model.pdparams", architecture="PPLiteSeg")
    return folder / "model.pdparams"


@pytest.mark.parametrize("shown", [[], ["--json"]])
def test_a_conversion_imports_nothing_that_it_does_not_need(
    of_full_size: Path, tmp_path: Path, shown: list[str]
) -> None:
    script = (
        "import atexit, sys, numpy\n"
        "known = set(sys.modules)\n"
        f"atexit.register(lambda: print(*(set(sys.modules) - known) & set({NOT_IMPORTED}), file=sys.stderr))\n"
        "import ppls.cli.convert\n"
        "ppls.cli.convert.convert()"
    )
    command = [sys.executable, "-c", script, str(of_full_size), str(tmp_path / "out.safetensors"), *shown]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr.split()) == (0, [])


def test_one_map_is_opened_however_many_there_are(of_full_size: Path, tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "opened = set()\n"
        "def note(event, arguments):\n"
        "    if event == 'open' and str(arguments[0]).endswith('.json'):\n"
        "        opened.add('/'.join(str(arguments[0]).split('/')[-2:]))\n"
        "sys.addaudithook(note)\n"
        "import ppls\n"
        "ppls.convert(sys.argv[1])\n"
        "from ppls.mappings.map_file import shipped_maps\n"
        "print(len(shipped_maps()), *sorted(opened))"
    )
    command = [sys.executable, "-c", script, str(of_full_size)]
    package_of_many_maps(tmp_path, 120)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    many = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=True)
    few = subprocess.run(command, capture_output=True, text=True, check=True)
    assert many.stdout.split()[0] == "120"
    assert many.stdout.split()[1:] == few.stdout.split()[1:] != []
