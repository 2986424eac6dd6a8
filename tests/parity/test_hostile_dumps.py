"""A dump is data from another machine: damaged, or made to do harm, it is one error and costs no more than its size."""

from __future__ import annotations

import copy
import errno
import io
import json
import os
import random
import resource
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ppls.errors import Error, ParityError
from ppls.parity.dump import CHECKPOINT, MANIFEST, Dump, open_dump
from ppls.parity.pairing import Paired, SameName
from ppls.parity.randomness import find_quiet, small_inputs
from ppls.parity.stages.layers import compare_layers
from ppls.parity.stored_zip import StoredZip
from ppls.parity.tolerance import Tolerances

from .small_dump import NamedSource, write_small_dump

Members = dict[str, bytes]


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> bytes:
    folder = tmp_path_factory.mktemp("small")
    (folder / "parts").mkdir()
    return write_small_dump(folder / "small.dump", folder / "parts").read_bytes()


@pytest.fixture(scope="module")
def members(small) -> Members:
    with zipfile.ZipFile(io.BytesIO(small)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def opened(tmp_path) -> Callable[[bytes], Dump]:
    """Opens a dump of these bytes and takes from it what a verification takes."""

    def open_and_use(content: bytes) -> Dump:
        path, folder = tmp_path / "x.dump", tmp_path / f"unpacked{len(os.listdir(tmp_path))}"
        path.write_bytes(content)
        folder.mkdir()
        try:
            dump = open_dump(path, folder, NamedSource())
            for name in dump.recording.inputs:
                dump.recording.input(name)
            for output in [*dump.recording.outputs, *dump.recording.head_outputs]:
                output.stored.load()
            for call in dump.recording.calls:
                call.input.load()
            assert dump.export is None or all((folder / stored.file).exists() for _, stored in dump.export.arrays())
            dump.check_channels(3)
            return dump
        finally:
            unpacked = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            assert unpacked <= len(content)
            assert [file for file in tmp_path.rglob("*.npy") if folder not in file.parents] == []
            for file in sorted(folder.rglob("*"), reverse=True):
                file.unlink() if file.is_file() else file.rmdir()
            folder.rmdir()

    return open_and_use


def packed(members: Members, method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def with_manifest(members: Members, change: Callable[[Any], object]) -> bytes:
    """The dump with a changed manifest: `change` takes it, and may return another in its place."""
    manifest = json.loads(members[MANIFEST])
    changed = change(manifest)
    text = changed if isinstance(changed, bytes) else json.dumps(manifest if changed is None else changed).encode()
    return packed({**members, MANIFEST: text})


def npy(descr: str = "<f4", shape: str = "(1, 3, 4, 6)", order: str = "False", data: bytes = bytes(288)) -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def test_the_small_dump_is_one_and_numbers_that_json_does_not_have_come_back(small, opened):
    dump = opened(small)
    floors = [output.stored.floor for output in dump.recording.outputs]
    assert floors == [1e-7, pytest.approx(float("nan"), nan_ok=True)]
    assert dump.training.result.float32[0].losses == (0.7, float("inf"))


@pytest.mark.parametrize("limit", [100, 2000, 8000])
def test_a_dump_of_more_than_two_gigabytes_has_wider_numbers(members, opened, monkeypatch, limit):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", limit)
    content = packed(members)
    assert b"PK\6\6" in content
    opened(content)
    for damaged in (content.replace(b"PK\6\6", b"PK\6\5"), content.replace(b"\1\0\x18\0", b"\1\0\x10\0")):
        if damaged != content:
            with pytest.raises(ParityError, match="is not a file that"):
                opened(damaged)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_members_are_refused_before_anything_is_inflated(members, opened, method):
    bomb = packed({**members, "arrays/00000.npy": bytes(50_000_000)}, method)
    assert len(bomb) < 100_000
    with pytest.raises(ParityError, match="is compressed, encrypted or of unknown form"):
        opened(bomb)


def patched(content: bytes, signature: bytes, offset: int, replacement: bytes, which: int = 0) -> bytes:
    """Bytes of the `which`-th record of a kind, replaced."""
    at = -1
    for _ in range(which + 1):
        at = content.index(signature, at + 1)
    return content[: at + offset] + replacement + content[at + offset + len(replacement) :]


CENTRAL, LOCAL, END = b"PK\1\2", b"PK\3\4", b"PK\5\6"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda c: patched(c, CENTRAL, 8, b"\1"), "encrypted"),
        (lambda c: patched(c, CENTRAL, 10, b"\x63"), "unknown form .method 99"),
        (lambda c: patched(c, LOCAL, 8, b"\x08"), "does not stand where the directory says"),
        (lambda c: patched(c, LOCAL, 6, b"\1"), "does not stand where the directory says"),
        (lambda c: patched(c, CENTRAL, 38, struct.pack("<L", 0o120777 << 16)), "no regular file"),
        (lambda c: patched(c, CENTRAL, 38, struct.pack("<L", 0o040755 << 16)), "no regular file"),
        (lambda c: patched(c, CENTRAL, 24, b"\xff\xff\xff\xff"), "a size is missing"),
        (lambda c: patched(c, CENTRAL, 20, b"\xff\xff\xff\x7f" * 2), "runs into the directory"),
        (lambda c: patched(c, CENTRAL, 24, b"\0\0\0\0"), "has two sizes"),
        (lambda c: patched(c, CENTRAL, 42, b"\1", 1), "does not start where the member before it ends"),
        (lambda c: patched(c, CENTRAL, 42, b"\0\0\0\0", 1), "does not start where the member before it ends"),
        (lambda c: patched(c, CENTRAL, 28, b"\xff\xff"), "which no dump does"),
        (lambda c: patched(c, CENTRAL, 0, b"PK\1\3"), "directory is damaged"),
        (lambda c: patched(c, END, 8, b"\xff\xff\xff\xff"), "more tensors or files"),
        (lambda c: patched(c, END, 12, b"\xff\xff\xff\xff"), "end is damaged|where its end says"),
        (lambda c: patched(c, END, 4, b"\1"), "where its end says"),
        (lambda c: c[:-1], "does not end as a zip archive does"),
        (lambda c: c + b"\0", "does not end as a zip archive does"),
        (lambda c: b"\0" + c, "end is damaged"),
        (lambda c: c[: len(c) // 2], "does not end as a zip archive does"),
        (lambda c: b"", "too short"),
        (lambda c: c[-22:], "end is damaged|is cut off"),
        (lambda c: c.replace(b"\x93NUMPY", b"\x93NUMPX", 1), "CRC-32"),
    ],
)
def test_a_damaged_archive_is_one_error(small, opened, damage, message):
    with pytest.raises(ParityError, match=rf"x\.dump: is not a file that ppls-verify --dump wrote: .*({message})"):
        opened(damage(small))


def test_overlapping_members_are_refused(members, opened):
    """The archive of a thousand members that are all the same bytes."""
    content = packed({MANIFEST: members[MANIFEST], "input0.npy": members["input0.npy"]})
    at = content.rindex(CENTRAL)
    end = content.index(END)
    entry = content[at:end]
    count, size = 1001, end - content.index(CENTRAL) + 999 * len(entry)
    tail = patched(content[end:], END, 8, struct.pack("<HHL", count, count, size))
    with pytest.raises(ParityError, match=r"holds input0\.npy twice"):
        opened(content[:end] + entry * 999 + tail)
    renamed = b"".join(entry.replace(b"input0", b"in%04d" % number) for number in range(999))
    with pytest.raises(ParityError, match="does not start where the member before it ends"):
        opened(content[:end] + renamed + tail)


def test_a_directory_of_many_names_is_refused_before_it_is_read(small, opened):
    at = small.index(END)
    start, count = small.index(CENTRAL), 1 << 33
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, at - start, start)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, at, 1)
    with pytest.raises(ParityError, match="more tensors or files"):
        opened(small[:at] + end64 + locator + small[at:])


@pytest.mark.parametrize(
    "name",
    [
        "../outside.npy", "/tmp/outside.npy", "arrays/../../outside.npy", "arrays/", "arrays/a/b.npy", "a\\b.npy",
        "other/00000.npy", "C:x.npy", "arrays/00000.npy\0", "a b.npy", "réseau.npy", ".npy", "x" * 300 + ".npy",
        "ARRAYS/00000.npy", "con.txt", "arrays/\x1b[31m.npy", "arrays/\n.npy",
    ],
)  # fmt: skip
def test_a_member_of_another_name_is_refused(members, opened, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = packed({**members, name: b"x"})
    if b"\0" in name.encode():
        content = packed({**members, "arrays/00000.npyX": b"x"}).replace(b"npyX", b"npy\0")
    with pytest.raises(ParityError, match="is not a file that ppls-verify --dump wrote") as caught:
        opened(content)
    assert str(caught.value).isprintable()


def test_members_are_those_that_the_manifest_names(members, opened):
    without = {name: content for name, content in members.items() if name != "input0.npy"}
    for content, message in [
        (packed(without), r"holds no input0\.npy, which its reference\.json names"),
        (packed({**members, "input7.npy": b""}), r"holds input7\.npy, which its reference\.json does not name"),
        (packed({name: members[name] for name in members if name != CHECKPOINT}), "holds no embedded"),
        (packed({name: members[name] for name in members if name != MANIFEST}), f"holds no {MANIFEST}"),
    ]:
        with pytest.raises(ParityError, match=message):
            opened(content)


def set_at(path: str, value: object) -> Callable[[Any], None]:
    """A change of a manifest: `result.outputs.0.floor`."""

    def change(manifest: Any) -> None:
        *parts, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        for part in parts:
            manifest = manifest[part]
        manifest[last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("result.outputs.1.floor", "x", r"result\.outputs\[1\]\.floor: expected a number, found 'x'"),
        ("result.outputs.1.floor", -1, r"result\.outputs\[1\]\.floor: expected 0 or more, found -1"),
        ("result.outputs.1.floor", "-inf", r"result\.outputs\[1\]\.floor: expected 0 or more"),
        ("result.outputs.1.file", "../x.npy", r"result\.outputs\[1\]\.file: '\.\./x\.npy' is no name"),
        ("result.outputs.1.file", 5, r"result\.outputs\[1\]\.file: expected a word, found 5"),
        (
            "result.outputs.1.shape",
            [2, 2, 2],
            r"result\.outputs\[1\]: arrays/00003\.npy is float32 \[2, 2, 2, 2\], not",
        ),
        ("result.outputs.1.shape", [2, 2, 2, -2], r"result\.outputs\[1\]\.shape\[3\]: expected 1 or more, found -2"),
        ("result.outputs.1.shape", [1] * 33, r"result\.outputs\[1\]\.shape: 33 dimensions"),
        ("result.outputs.1.shape", [True] * 4, r"shape\[0\]: expected a whole number, found True"),
        ("result.outputs.1.dtype", "object", r"result\.outputs\[1\]\.dtype: expected 'bool' or"),
        ("result.outputs.1.dtype", "float64", r"00003\.npy is float32 .* not float64"),
        ("result.outputs.1.index", 1, r"result\.outputs\[1\]: output 1 of 'strong' is not in its place"),
        ("result.outputs.1.index", 10**30, "is not in its place"),
        ("result.outputs.1.input", "other", "output 0 of 'other' is not in its place"),
        ("result.heads.1.place", "[0]", r"result\.heads: 'photograph \[0\]' stands there twice"),
        ("result.outputs.1.place", None, r"result\.outputs\[1\]\.place: expected a word"),
        ("result.outputs.1.exact", 0, r"exact: expected true or false, found 0"),
        ("result.outputs", [], r"result\.outputs: 'photograph' has none"),
        ("result.heads", [], r"result\.heads: 'photograph' has none"),
        ("result.layers", None, r"holds arrays/00001\.npy, which"),
        ("job.layers", None, r"result\.layers: the job asks for the layers of nothing"),
        ("result.layers.input", "strong", r"result\.layers\.input: the job asks for 'photograph'"),
        ("result.layers.calls.0.call", 1, r"result\.layers\.calls\[0\]\.call: expected 0, found 1"),
        ("result.layers.calls.0.numerics.other", 1, r"numerics\.other: 'other' is not known here"),
        ("result.layers.calls.0.module", "m" * 5000, r"calls\[0\]\.module: a name of 5,000 characters"),
        ("result.layers.dropouts.0.rate", 2, r"result\.layers\.dropouts\[0\]\.rate: expected 1 at most, found 2"),
        ("result.layers.dropouts.0.module", ["m"], r"dropouts\[0\]\.module: expected a word, found a list"),
        ("result.versions", None, r"result\.versions: expected `key: value` pairs, found nothing"),
        ("result.error", {"kind": "job", "message": ""}, r"result\.error: expected nothing"),
        ("result.more", 1, r"result\.more: 'more' is not known here"),
        ("result.resizes.rounding", None, r"result\.resizes\.rounding: expected a number, found nothing"),
        ("job.sha256", "0" * 63, r"job\.sha256: expected 64 hexadecimal digits"),
        ("job.sha256", "0" * 64, r"training\.job\.sha256: is of another checkpoint"),
        ("job.task", "train", r"job\.task: expected 'run', found 'train'"),
        ("job.inputs", [], r"job\.inputs: is empty"),
        ("job.inputs.1.name", "photograph", r"job\.inputs: 'photograph' stands there twice"),
        ("job.inputs.1.file", "input0.npy", r"holds input1\.npy, which"),
        ("job.inputs.1.file", "arrays/00003.npy", r"holds input1\.npy, which"),
        ("job.layers", "other", r"job\.layers: no input is called 'other'"),
        ("job.dtype", "float16", r"job\.dtype: expected 'float32' or 'float64'"),
        ("job.dtype", "float64", r"result\.outputs\[0\]\.floor: a run in float64 has none"),
        ("job.upsample", "nearest", r"upsample: expected the job's, 'nearest'"),
        ("upsample", "cubic", r"upsample: expected 'bilinear' or 'nearest'"),
        ("embedded", None, r"holds embedded\.pdparams, which"),
        ("embedded", {}, r"embedded: expected a word"),
        ("training.job.sha256", "0" * 64, r"training\.job\.sha256: is of another checkpoint"),
        ("training.job.rates.0", "fast", r"training\.job\.rates\[0\]: expected a number, found 'fast'"),
        ("training.job.rates", [], r"training\.job\.rates: is empty"),
        ("training.result.rate", -1, r"training\.result\.rate: "),
        ("training.result.heads", [], r"training\.result\.heads: is empty"),
        ("training.result.outputs.0.shape", [5], r"training\.result\.outputs\[0\]: training/"),
        ("training.result.steps.0.draws.0", [0], r"training\.result\.steps\[0\]\.draws\[0\]\[0\]: "),
        ("training.result.float32.1.loss_floors", [1], r"training\.result\.float32\[1\]\.loss_floors: there is one"),
        ("training.job.steps", [], r"training\.job\.steps: is empty"),
        ("training.result.steps.0.losses", [], r"training\.result\.steps\[0\]\.losses: is empty"),
        ("training.result.steps.0.losses", [1], r"training\.result\.steps\[1\]\.losses: there are as many"),
        ("training.result.float32", [], r"training\.result\.float32: expected the 2 steps of the job, found 0"),
        (
            "training.result.steps.0.parameters.weight.shape",
            [5],
            r"training\.result\.steps\[0\]\.parameters\.weight: training/",
        ),
        ("training.result", [], r"training\.result: expected `key: value` pairs, found a list"),
        ("export.job.sha256", "0" * 64, r"export\.job\.sha256: is of another checkpoint"),
        ("export.job.shape", [1, 3], r"export\.job\.shape: expected that of images"),
        ("export.job.inputs.0.name", "other", r"export\.job\.inputs\[0\]: 'other' is no input of the network"),
        ("export.job.inputs", [], r"export\.job\.inputs: is empty"),
        ("export.job.outputs", [], r"export\.job\.outputs: is empty"),
        ("export.job.outputs.0.ending", None, r"export\.result\.outputs\[0\]\.itself: is not what the job asks for"),
        ("export.job.outputs.0.ending", "sum", r"export\.job\.outputs\[0\]\.ending: expected 'argmax' or"),
        ("export.job", None, r"export\.job: expected one with its result"),
        ("export.result", None, r"export\.job: expected one with its result|holds exported"),
        ("export.result.outputs", [], r"holds exported/0000.\.npy, which"),
        ("export.result.outputs.0.index", 1, r"export\.result\.outputs: expected 1 of each of 1 inputs"),
        ("export.result.outputs.0.logits.shape", [5], r"export\.result\.outputs\[0\]\.logits: exported/00000\.npy is"),
        ("export", None, r"holds exported/0000.\.npy, which"),
        ("format", "ppls reference 9\x1b", r"is of the format 'ppls reference 9\\x1b'"),
        ("format", 3, "states no format"),
    ],
)
def test_what_the_schema_does_not_have_is_refused_with_its_place(members, opened, path, value, message):
    with pytest.raises(ParityError, match=rf"x\.dump: .*{message}") as caught:
        opened(with_manifest(members, set_at(path, value)))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "Expecting value"),
        (b"\xff\xfe", "codec"),
        (b'{"format": NaN}', "NaN is no JSON"),
        (b'{"format": "a", "format": "b"}', "stands twice"),
        (b"[" * 500_000, "nested"),
        (b'{"a":' * 200_000 + b"1" + b"}" * 200_000, "nested"),
        (b"[" + b"[]," * 320 + b"0]", "states no format"),
        (b"9" * 1_000_000, "digits"),
        (b"[]", "states no format"),
        (b"null", "states no format"),
    ],
    ids=lambda value: value[:10],
)
def test_a_manifest_that_is_none_is_one_error(members, opened, text, message):
    with pytest.raises(ParityError, match=rf"x\.dump: is not a file .*{message}"):
        opened(with_manifest(members, lambda _: text))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        npy(data=bytes(287)),
        npy(data=bytes(289)),
        npy("|O"),
        npy("<c8", data=bytes(576)),
        npy(">f4"),
        npy("<f8"),
        npy("<U4"),
        npy(order="None"),
        npy(shape="(1, 3, 4, -6)"),
        npy(shape="(1, 3, 4, 6.0)"),
        npy(shape="(0, 1152921504606846976)", data=b""),
        npy(shape="(1, 3, 4, 00000006)"),
        npy(shape="(3, 4, 6)"),
        npy(shape="(1, 3, 6, 4, 1)"),
        npy(shape="(99999999999999, 99999999999999, 99999999999999)"),
        npy(shape="[1, 3, 4, 6]"),
        npy(shape="(" + "1, " * 30 + "1)"),
        npy().replace(b"NUMPY\x01", b"NUMPY\x02"),
        npy().replace(b"}", b"]"),
        npy().replace(b"'descr'", b"__import__('os')"),
        npy()[:8] + b"\xff\xff" + npy()[10:],
        npy()[:60],
    ],
)
def test_an_array_that_is_no_plain_one_is_refused_with_its_place(members, opened, content):
    with pytest.raises(ParityError, match=r"x\.dump: job\.inputs\[0\]\.file: "):
        opened(packed({**members, "input0.npy": content}))


def saved(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_an_array_of_another_order_is_read_as_older_dumps_have_it(members, opened):
    array = np.asfortranarray(np.arange(16, dtype=np.float32).reshape(2, 2, 2, 2))
    dump = opened(packed({**members, "arrays/00003.npy": saved(array)}))
    assert dump.recording.outputs[1].input == "strong"


def test_labels_belong_to_their_images(members, opened):
    for labels, message in [
        (np.zeros((2, 4, 3), np.int64), "expected one int64 for each pixel"),
        (np.zeros((2, 4, 4), np.int32), "expected one int64 for each pixel"),
        (np.full((2, 4, 4), -1), "a label is negative"),
    ]:
        with pytest.raises(ParityError, match=rf"training\.job\.steps\[1\]\.labels: {message}"):
            opened(packed({**members, "labels1.npy": saved(labels)}))


def test_inputs_have_the_channels_of_the_model(members, opened):
    with pytest.raises(ParityError, match="has inputs of 4 channels; the checkpoint's model takes 3"):
        opened(packed({**members, "input1.npy": saved(np.zeros((2, 4, 2, 2), np.float32))}))


def test_the_embedded_checkpoint_is_the_one_that_was_run(members, opened):
    other = members[CHECKPOINT].replace(b"weight", b"height")
    with pytest.raises(ParityError, match=r"embedded\.pdparams: is not the checkpoint of job\.sha256"):
        opened(packed({**members, CHECKPOINT: other}))


def test_no_more_images_run_than_a_dump_of_its_size_has(members, opened):
    """A hundred thousand images of one pixel would fit into a megabyte."""
    with pytest.raises(ParityError, match=r"job\.inputs: 1,001 images are more than a dump of"):
        opened(_many_images(members))


def _many_images(members: Members) -> bytes:
    output = saved(np.zeros((1000, 2, 1, 1), np.float32))

    def change(manifest: Any) -> None:
        manifest["result"]["outputs"][1]["shape"] = manifest["result"]["heads"][2]["shape"] = [1000, 2, 1, 1]

    changed = {**members, "input1.npy": saved(np.zeros((1000, 3, 1, 1), np.float32)), "arrays/00003.npy": output}
    manifest = json.loads(members[MANIFEST])
    change(manifest)
    return packed({**changed, MANIFEST: json.dumps(manifest).encode()})


def test_one_file_does_not_stand_for_gigabytes_of_arrays(members, opened):
    """Three thousand gradients, each the same megabyte: 3 GB to compare."""
    large = saved(np.zeros(100_000))
    stored = {"file": "training/00000.npy", "shape": [100_000], "dtype": "float64", "floor": None}

    def change(manifest: Any) -> None:
        first, last = manifest["training"]["result"]["steps"]
        first["gradients"] = {f"layer{number}.weight": stored for number in range(3000)}
        last["gradients"] = {}

    manifest = json.loads(members[MANIFEST])
    change(manifest)
    changed = {**members, MANIFEST: json.dumps(manifest).encode(), "training/00000.npy": large}
    with pytest.raises(ParityError, match="far more memory than"):
        opened(packed(changed))


def test_a_layer_of_which_nothing_can_be_compared_has_no_figures(small, tmp_path):
    """A convolution whose bias is folded away: its output is not compared, and here its input is the same array."""
    (tmp_path / "x.dump").write_bytes(small)
    (tmp_path / "parts").mkdir()
    recording = open_dump(tmp_path / "x.dump", tmp_path / "parts", NamedSource()).recording
    layers = recording.result.layers
    call = replace(layers.calls[0], input=layers.calls[0].output)
    recording = replace(recording, result=replace(recording.result, layers=replace(layers, calls=(call,))))
    module = torch.nn.Sequential(OrderedDict(conv=torch.nn.Conv2d(3, 2, 1))).eval()
    paired = Paired([SameName("conv", "conv", output_comparable=False)], [], [])
    quiet = find_quiet(module, small_inputs(recording))
    found, _ = compare_layers(recording, module, paired, Tolerances(), quiet, [], own=True)
    assert found.figures == ()
    assert not any("never runs" in failure for failure in found.failures)


def test_a_disk_that_is_full_is_not_a_fault_of_the_dump(opened, small, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(StoredZip, "extract", full)
    with pytest.raises(ParityError, match=r"x\.dump: cannot be unpacked into .*: No space left on device"):
        opened(small)


def test_what_is_no_regular_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for name, message in (("fifo", "a pipe, not a file"), (".", "a folder, not a file"), ("absent", "does not exist")):
        with pytest.raises(ParityError, match=message):
            open_dump(tmp_path / name, tmp_path, NamedSource())


# Mutations

ODD: list[Any] = [
    None, True, False, 0, 1, -1, 1 << 31, 1 << 63, 10**39, 0.5, -0.5, 1e308, "", "x", "nan", "\x1b[31m", "\ud800",
    "../x", "arrays/00000.npy", "input0.npy", [], [0], [1, 2, 3], [[]], {}, {"a": 1}, "y" * 5000, [None] * 100,
]  # fmt: skip


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of a document, with each of its keys."""
    for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(item, (dict, list)):
            yield from places(item)


def mutated_manifest(rng: random.Random, members: Members) -> bytes:
    manifest = json.loads(members[MANIFEST])
    for _ in range(rng.choice((1, 1, 2, 4))):
        container, key = rng.choice(list(places(manifest)))
        how = rng.randrange(5)
        if how == 0:
            del container[key]
        elif how == 1:
            other, other_key = rng.choice(list(places(manifest)))
            container[key] = copy.deepcopy(other[other_key])
        elif how == 2 and isinstance(container, dict):
            container[rng.choice(["more", "file", "\x07", ""])] = copy.deepcopy(rng.choice(ODD))
        elif how == 3 and isinstance(container, list):
            container += copy.deepcopy(container) * rng.choice((1, 50))
        else:
            container[key] = copy.deepcopy(rng.choice(ODD))
    return packed({**members, MANIFEST: json.dumps(manifest).encode()})


def mutated_bytes(rng: random.Random, content: bytes) -> bytes:
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(data))
        how = rng.randrange(5)
        if how == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            number = rng.choice((0, 1, 0x7F, 0xFF, 0x7FFFFFFF, 0xFFFFFFFF, (1 << 63) - 1))
            width = rng.choice((1, 2, 4, 8))
            data[at : at + width] = (number % (1 << 8 * width)).to_bytes(width, "little")
        elif how == 2:
            del data[at : at + rng.choice((1, 4, 100))]
        elif how == 3:
            data[at:at] = data[at : at + rng.choice((1, 46, 300))]
        else:
            data[at : at + 4] = rng.choice((CENTRAL, LOCAL, END, b"PK\6\6", b"PK\6\7"))
        if not data:
            break
    return bytes(data)


def mutated_records(rng: random.Random, content: bytes) -> bytes:
    """Changes in the records of the archive alone, which random bytes of the whole rarely hit."""
    start = content.index(CENTRAL)
    return content[:start] + mutated_bytes(rng, content[start:])


def mutated_array(rng: random.Random, members: Members) -> bytes:
    name = rng.choice([name for name in members if name.endswith(".npy")])
    content = members[name]
    return packed({**members, name: mutated_bytes(rng, content[:128]) + content[128:]})


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_changed_in_a_dump_it_is_read_or_refused_in_one_error(small, members, opened, seed):
    rng = random.Random(seed)
    refused = 0
    for number in range(100):
        content = [
            lambda: mutated_manifest(rng, members),
            lambda: mutated_records(rng, small),
            lambda: mutated_array(rng, members),
            lambda: mutated_bytes(rng, small),
        ][number % 4]()
        try:
            opened(content)
            continue
        except Error as error:
            message = str(error)
        refused += 1
        assert 0 < len(message) < 5000
        assert message.isprintable()
    assert refused > 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4 << 20  # in KiB; of the whole test run
