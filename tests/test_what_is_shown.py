"""Every command, on files whose names and contents would be obeyed by whatever shows them: none of it is."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from ppls.cli.bench import bench
from ppls.cli.convert import convert
from ppls.cli.evaluate import evaluate
from ppls.cli.export import export
from ppls.cli.inspect import inspect
from ppls.cli.predict import predict
from ppls.cli.verify import verify

from .checkpoint import pickles
from .nasty import NASTY, WHOLE, assert_inert

ROOT = Path(__file__).resolve().parents[1]
SOME = ["clears the screen", "breaks the line", "writes from right to left", "lone surrogate", "rich markup"]
TEXTS = [pytest.param(text, id=name) for name, text in [*NASTY.items(), ("all at once", WHOLE)]]


def run(command: click.Command, *arguments: object) -> Result:
    """Runs a command; what it shows must be inert, and an error one message."""
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert isinstance(result.exception, (SystemExit, type(None))), result.exception
    assert_inert(result.stdout)
    assert_inert(result.stderr)
    if "--json" in arguments and result.stdout:
        assert result.stdout.isascii()
        json.dumps(json.loads(result.stdout, parse_constant=pytest.fail), ensure_ascii=False).encode("utf-8")
    return result


def file_name(text: str) -> str:
    """The text as a file's name may hold it: as bytes, each surrogate one that is not UTF-8."""
    name = text.replace("/", "_").replace("\0", "_").encode("utf-8", "backslashreplace")[:100]
    return os.fsdecode(name + b"\xff\xe9")


def safetensors(path: Path, header: dict[str, object]) -> Path:
    """A file with a header of the test's own, and eight bytes of data."""
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    return path


WEIGHT = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def metadata(text: str, folder: Path) -> Iterator[Path]:
    yield safetensors(folder / "a.safetensors", {"__metadata__": {text: "value", "key": text}, "w": WEIGHT})


def metadata_of_a_converted_file(text: str, folder: Path) -> Iterator[Path]:
    fields = dict.fromkeys(["architecture", "era", "map", "map_sha256", "source_sha256", "dtype", "ppls_version"], text)
    yield safetensors(folder / "a.safetensors", {"__metadata__": {**fields, "config": "{}"}, "w": WEIGHT})
    config = json.dumps({text: text})
    yield safetensors(folder / "b.safetensors", {"__metadata__": {**fields, "config": config}, "w": WEIGHT})
    yield safetensors(folder / "c.safetensors", {"__metadata__": {**fields, "config": text}, "w": WEIGHT})


def names_of_tensors(text: str, folder: Path) -> Iterator[Path]:
    yield safetensors(folder / "a.safetensors", {text: WEIGHT})
    yield safetensors(folder / "b.safetensors", {"w": {**WEIGHT, "dtype": text}})
    yield safetensors(folder / "c.safetensors", {text: {**WEIGHT, "shape": [text]}})
    for number, value in enumerate((np.zeros(2, np.float32), "a text", {text: np.zeros(2, np.float32)})):
        yield pickles.save(folder / f"{number}.pdparams", {text: value})


def what_a_pickle_says(text: str, folder: Path) -> Iterator[Path]:
    name = text.replace("\n", "\r")
    streams = {
        "global": pickles.function(name.encode("utf-8", "ignore").decode(), name.encode("utf-8", "ignore").decode()),
        "dtype": pickles.dictionary(w=pickles.array(element=pickles.dtype(code=pickles.text(text)))),
        "order": pickles.dictionary(w=pickles.array(element=pickles.dtype(order=pickles.text(text)))),
        "shape": pickles.dictionary(w=pickles.array(shape=pickles.text(text) + b"\x85")),
        "call": pickles.function("builtins", "eval") + pickles.text(text) + b"\x85R",
        "key": b"}(" + pickles.text(text) + b"\x85" + pickles.array() + b"u",
        "opcode": text.encode("utf-8", "surrogatepass"),
    }
    for kind, stream in streams.items():
        path = folder / f"{kind}.pdparams"
        path.write_bytes(pickles.whole(stream))
        yield path


def members_of_archives(text: str, folder: Path) -> Iterator[Path]:
    weights = pickles.save(folder / "weights", {"w": np.zeros(2, np.float32)}).read_bytes()
    for number, content in enumerate((weights, b"no weights", b"")):
        name = text if number != 1 else f"{text}.pdparams"
        path = folder / f"{number}.tar"
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, errors="surrogatepass") as tar:
            for member in (name, f"other {name}"):
                found = tarfile.TarInfo(member)
                found.size = len(content)
                try:
                    tar.addfile(found, io.BytesIO(content))
                except UnicodeError:  # tar has no way to write a lone surrogate
                    return
        yield path
    path = folder / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo(text.encode("utf-8", "ignore").decode()), weights)
    yield path


def files_in_folders(text: str, folder: Path) -> Iterator[Path]:
    for number, (suffix, content) in enumerate(
        [("", b"x"), (".pdparams", b"x"), (".pdmodel", b"x"), (".json", b"{}"), (".pdparams", b""), (".txt", b"x")]
    ):
        place = folder / str(number)
        place.mkdir()
        (place / (file_name(text) + suffix)).write_bytes(content)
        (place / f"x{file_name(text)}{suffix}").write_bytes(content)
        yield place


def paths_of_the_user(text: str, folder: Path) -> Iterator[Path]:
    place = folder / file_name(text)
    yield place
    place.mkdir()
    yield place
    yield pickles.save(place / f"{file_name(text)}.pdparams", {"w": np.zeros(2, np.float32)})
    (place / "x.gz").write_bytes(b"\x1f\x8b damaged")
    yield place / "x.gz"


PLACES = [
    metadata,
    metadata_of_a_converted_file,
    names_of_tensors,
    what_a_pickle_says,
    members_of_archives,
    files_in_folders,
    paths_of_the_user,
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("place", PLACES)
def test_inspect_and_convert_show_what_is_in_a_file(
    place: Callable[[str, Path], Iterator[Path]], text: str, tmp_path: Path
) -> None:
    for path in place(text, tmp_path):
        run(inspect, path)
        run(inspect, path, "--json")
        run(convert, path, tmp_path / "out.safetensors")
        run(convert, path, tmp_path / "back.pdparams", "--to", "paddle")


def quoted(text: str) -> str:
    """The text as YAML has it in quotes; what YAML cannot say left out."""
    return json.dumps(text.encode("utf-8", "ignore").decode())


@pytest.mark.parametrize("text", TEXTS)
def test_maps_show_what_is_in_them(text: str, tmp_path: Path) -> None:
    said = quoted(text)
    whole = (ROOT / "ppls" / "mappings" / "paddleseg" / "pp_liteseg.yaml").read_text()
    maps = [
        text.encode("utf-8", "replace").decode(),
        f"format: {said}\n",
        f"format: 2\n{said}: 2\n",
        f"format: 2\narchitecture: {said}\nsource: {said}\ntarget: {said}\n",
        whole.replace("architecture: PPLiteSeg", f"architecture: {said}"),
        whole.replace("era: PaddleSeg 2.5", f"era: {said}"),
        whole.replace("backbones: [stdc, any]", f"backbones: [stdc]\ntarget: {said}"),
        f"{whole}\ntensors:\n  - [{said}, {said}]\n",
        f"{whole}\nprefixes: {{a: {said}}}\n",
        f"{whole}\nmodules:\n  - [{said}, {said}, {said}]\n",
    ]
    for number, content in enumerate(maps):
        path = tmp_path / f"{number}{file_name(text)}.yaml"
        path.write_text(content, encoding="utf-8")
        assert run(inspect, "--map", path).exit_code in (0, 2)
        run(inspect, "--map", path, "--json")
    assert run(inspect, "--map", file_name(text)).exit_code == 2


@pytest.mark.parametrize("text", [*(NASTY[name] for name in SOME), WHOLE], ids=[*SOME, "all at once"])
def test_configs_and_settings_show_what_is_in_them(text: str, tmp_path: Path, small: Path) -> None:
    said = quoted(text)
    configs = [
        text.encode("utf-8", "replace").decode(),
        f"_base_: {said}\n",
        f"model: {{type: {said}}}\n",
        f"model: {{type: PPLiteSeg, backbone: {{type: {said}}}}}\n",
        f"model: {{type: PPLiteSeg, {said}: 3}}\n",
        f"model: {{type: PPLiteSeg, arm_type: {said}, cm_bin_sizes: {said}}}\n",
        f"model: {said}\n",
        f"val_dataset: {{type: Dataset, transforms: [{{type: {said}}}]}}\n",
    ]
    for number, content in enumerate(configs):
        path = tmp_path / f"{number}{file_name(text)}.yml"
        path.write_text(content, encoding="utf-8")
        run(convert, small, tmp_path / "out.safetensors", "--config", path)
        run(predict, small, tmp_path, "-o", tmp_path / "o", "--config", path)
        run(evaluate, small, "--root", tmp_path, "--config", path)
    typed = file_name(text)
    for option in (
        ["--set", typed],
        ["--set", f"{typed}=1"],
        ["--set", f"arm_type={typed}"],
        ["--arch", typed],
        ["--map", typed],
        ["--config", typed],
        ["--upsample", typed],
        [typed],
    ):
        assert run(convert, small, tmp_path / "out.safetensors", *option).exit_code != 0
        run(convert, small, tmp_path / "out.safetensors", *option, "--json")


@pytest.mark.parametrize("text", [*(NASTY[name] for name in SOME), WHOLE], ids=[*SOME, "all at once"])
def test_lists_and_images_show_what_they_are_called(text: str, tmp_path: Path, small: Path) -> None:
    lists = [f"{text}\n", f"{text} {text} {text}\n", f"{text.replace(' ', '_')} {text.replace(' ', '_')}\n"]
    for number, content in enumerate(lists):
        (tmp_path / f"{number}.txt").write_text(content, encoding="utf-8", errors="replace")
        assert run(evaluate, small, "--root", tmp_path, "--data", tmp_path / f"{number}.txt").exit_code == 1
    typed = file_name(text)
    image = tmp_path / f"{typed}.png"
    image.write_bytes(b"no image")
    for option in (
        [image],
        [tmp_path],
        [tmp_path / "none" / typed],
        [image, "--palette", typed],
        [image, "--tile", typed],
    ):
        assert run(predict, small, *option, "-o", tmp_path / "out").exit_code != 0
        run(predict, small, *option, "-o", tmp_path / "out", "--json")
    for option in (["--layout", typed], ["--split", typed], ["--separator", typed], ["--data", typed]):
        assert run(evaluate, small, "--root", tmp_path, *option).exit_code != 0
    run(export, small, tmp_path / f"{typed}.onnx", "--format", typed)
    run(export, small, tmp_path / f"{typed}.{typed}")
    run(bench, small, "--mode", typed)
    run(bench, small, "--device", typed)


@pytest.mark.parametrize("text", TEXTS)
def test_verify_shows_what_it_is_given_and_the_references_last_words(text: str, tmp_path: Path) -> None:
    words = tmp_path / "words"
    words.write_bytes(text.encode("utf-8", "surrogatepass"))
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\ncat '{words}'\ncat '{words}' >&2\nexit 3\n")
    python.chmod(0o755)
    result = run(verify, "--reference-python", python)
    assert result.exit_code == 1
    assert "its last words" in result.stderr
    typed = file_name(text)
    (tmp_path / typed).write_bytes(b"PK\3\4 damaged")
    for option in (
        ["--model", f"{typed}:build"],
        ["--model", f"os:{typed}"],
        ["--model", typed],
        ["--reference-python", typed],
        ["--reference", tmp_path / typed],
        ["--reference", tmp_path / "none" / typed],
        ["--arch", typed, "--reference-python", python],
        [tmp_path / typed],
        ["--report", tmp_path / "none" / typed],
        ["--dump", tmp_path / "none" / typed],
        ["--image", tmp_path / typed, "--reference-python", python],
    ):
        assert run(verify, *option).exit_code != 0


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", "Straße × 日本"),
        ("cp1252", r"Straße × \u65e5\u672c"),
        ("ascii", r"Stra\xdfe \xd7 \u65e5\u672c"),
    ],
)
def test_a_terminal_of_any_encoding_is_given_what_it_can_show(
    encoding: str, shown: str, small: Path, tmp_path: Path
) -> None:
    source = tmp_path / os.fsdecode("Straße × 日本 \x1b[2J ".encode() + b"\xff.pdparams")
    source.write_bytes(small.read_bytes())
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from ppls.cli.convert import convert; convert()",
            source,
            os.fsencode(tmp_path) + b"/\xe9",
        ],
        capture_output=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding, "COLUMNS": "300"},
    )
    assert done.returncode == 0, done.stderr
    assert_inert(done.stdout.decode(encoding))
    assert shown in done.stdout.decode(encoding)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small PP-LiteSeg, as PaddleSeg would have saved it, made without PaddleSeg."""
    import torch

    import ppls
    from ppls.converter.back import convert_back

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("small")
    backbone = {"type": "STDCNet", "base": 8, "layers": [2, 2, 2], "block_num": 4, "in_channels": 3}
    options = {"cm_out_ch": 16, "arm_out_chs": [8, 12, 16], "seg_head_inter_chs": [8, 8, 12]}
    model = ppls.models.PPLiteSeg(num_classes=3, backbone=backbone, **options)
    torch.save(model.state_dict(), folder / "small.pt")
    convert_back(folder / "small.pt", folder / "small.pdparams", architecture="PPLiteSeg", overrides=options)
    return folder / "small.pdparams"
