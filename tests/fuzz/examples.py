"""Small valid inputs of every kind, made on the spot, so that the fuzzer works where no sample files are."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

import ppls
from tests.checkpoint import pickles, programs, streams

# A map of its own for three tensors: what changes in it is converted in a millisecond.
TINY_MAP = b"""\
# a map that uses most of what the language has
format: 2
architecture: Sized
target: none
prefixes: {head: heads.<i+1>}
layers:
  scale:      {gamma: gamma}
blocks:
  pair:       {first: [first, conv_bn], second: [second, conv, {weight: negate}]}
  twins:      {left.<k>: [sides.<k>.0, pair], right: [right, pair]}
modules:
  - [blocks.<i>,        layers.<i>,       conv_bn]
  - [$head.<j>,         heads.<i>.<j>,    conv, {weight: {permute: {dim: 1, order: [1, 0]}}}]
  - [gate.<i:1..>,      gate.<i>,         conv, {weight: negate, bias: negate}]
  - [every.<3*i+1>,     every.<i>,        conv]
  - [<x:pam|cam>.gate,  <x:position|channel>.gate, scale]
  - [grid.<i>.<j>,      grid.<i>.<j>,     conv]
  - [twin.<i>,          twin.<i>,         twins]
  - [fc,                classifier,       linear]
tensors:
  - {from: kv.weight, to: [k.weight, v.weight], split: {dim: 0}}
  - {from: [a.weight, b.weight], to: ab.weight, concat: {dim: 0}}
  - {to: pool.running_mean, fold_bias: {mean: pool._mean, bias: pool.bias}}
constants:
  blocks.<i>._scale: {value: 1, shape: [1], beside: blocks.<i>._conv.weight, only: {mode: bilinear}}
duplicates: {copies.<i+1>: blocks.<i>, stage.<i>: blocks.<i+depth>, tied: {of: fc, written: true}}
dead: {unused: {why: built and never run, written: {weight: [num_classes, "fc.weight[1]", 1, 1], bias: [num_classes]}}}
optional: {gated: [gate.1, gate.2], more: {modules: more.<i>, kept: false}}
keep: [anchors]
config:
  num_classes: fc.weight[1]
  depth:       {count: blocks.<i>._conv.weight}
  side:        {root: "kv.weight[0]"}
  stages:      {starts: blocks.<i>._scale, among: blocks.<i>._conv.weight}
  widths:      {size: "blocks.<i>._conv.weight[0]", over: stages}
  lambd:       {size: "fc.weight[0]", over: 4.0}
  twice:       {size: "fc.weight[0]", times: [0.5, 2]}
  per_head:    {count: grid.<i>.<j>.weight, per: i}
  bins:        {count: blocks.<i>._conv.weight, defaults: [[1, 2], [1, 2, 3]]}
  wide:        {by: {shape: fc.weight, y: "kv.weight[1]", has: pool}, is: {true: [[y, 3], true], false: [any, _]}}
  tied:        {present: tied}
  mode:        {resize: bilinear, target_only: true}
recipes: {Sized-T: {num_classes: 3, depth: 2}}
classifiers: [fc]
numerics:
  batch_norm: {epsilon: 1.0e-5, momentum: 0.9}
eras:
  - {era: '2.5', has: [fc.weight], lacks: [fc.gone], renamed: {old.<i>: new.<i>}}
  - {era: '2.6', only: {mode: bilinear}}
"""
CONFIG = b"""\
_base_: base.yml
batch_size: 4
val_dataset:
  type: Dataset
  dataset_root: data
  val_path: data/val.txt
  separator: ' '
  num_classes: 3
  mode: val
  transforms:
    - {type: Resize, target_size: [64, 32], keep_ratio: false, size_divisor: 32, interp: LINEAR}
    - {type: ResizeByLong, long_size: 64}
    - {type: ResizeByShort, short_size: 32, max_size: 128}
    - {type: LimitLong, max_long: 128, min_long: 16}
    - {type: PaddingByAspectRatio, aspect_ratio: 2}
    - {type: Padding, target_size: [512, 512], im_padding_value: 127.5}
    - {type: Normalize, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}
test_config:
  {aug_eval: true, scales: [0.75, 1.0], flip_horizontal: true, is_slide: true, crop_size: [64, 64], stride: [32, 32]}
model:
  _inherited_: true
  cm_bin_sizes: [1, 2, 4]
"""
BASE_CONFIG = b"""\
model:
  type: PPLiteSeg
  num_classes: 3
  backbone: {type: STDCNet, base: 2, layers: [2, 2, 2], block_num: 2, pretrained: null}
  cm_out_ch: 2
  arm_out_chs: [2, 2, 2]
  seg_head_inter_chs: [2, 2, 2]
"""
DEPLOY = b"""\
Deploy:
  model: model.pdmodel
  params: model.pdiparams
  transforms: [{type: Normalize, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}]
"""
REPORT = {
    "schema": 1, "verdict": "pass", "checkpoint": "model.pdparams", "candidate": "ppls", "architecture": "PPLiteSeg",
    "tolerance": 1e-4, "dtype": "float32", "inputs": ["noise 32x64"], "warnings": [], "failures": [],
    "outputs": [{"input": "noise 32x64", "name": "output 0", "scaled": 4.4e-7, "floor": 6.7e-7,
    "argmax_agreement": 1.0}],
}  # fmt: skip


def tiny_tensors() -> dict[str, np.ndarray]:
    """What `TINY_MAP` covers."""
    shapes: dict[str, tuple[int, ...]] = {
        "fc.weight": (2, 3),
        "fc.bias": (3,),
        "tied.weight": (2, 3),
        "kv.weight": (4, 2),
    }
    for block in ("blocks.0", "blocks.1"):
        shapes[f"{block}._conv.weight"] = (2, 2, 1, 1)
        shapes |= {f"{block}._batch_norm.{name}": (2,) for name in ("weight", "bias", "_mean", "_variance")}
        shapes[f"{block}._scale"] = (1,)
    shapes |= {
        "heads.1.0.weight": (2, 2, 1, 1),
        "gate.1.weight": (2, 2, 1, 1),
        "every.4.weight": (2, 2, 1, 1),
        "twin.0.left.1.second.weight": (2, 2, 1, 1),
        "twin.0.right.first._conv.weight": (2, 2, 1, 1),
        "cam.gate.gamma": (1,),
        "unused.weight": (2,),
        "pool._mean": (2,),
    }
    shapes |= {"a.weight": (2, 2), "b.weight": (2, 2), "pool.bias": (2,), "grid.0.0.weight": (2, 2, 1, 1)}
    return {name: np.ones(shape, np.float32) for name, shape in shapes.items()}


def pickled(value: Any, protocol: int = 4) -> bytes:
    """What `paddle.save` leaves of a state dict."""
    if isinstance(value, dict):
        value = {**value, "StructuredToParameterName@@": {name: f"param_{i}" for i, name in enumerate(value)}}
    return pickle.dumps(value, protocol)


def tar(**members: bytes) -> bytes:
    """A tar archive of these files; `__` in a name stands for a dot."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo("weights/" + name.replace("__", "."))
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


@lru_cache
def model() -> dict[str, bytes]:
    """One small PP-LiteSeg: `model.pt`, `model.pdparams`, `model.safetensors`, `config.json`, and its legacy `.pt`."""
    import torch

    torch.manual_seed(0)
    backbone = {"type": "STDCNet", "base": 2, "layers": [2, 2, 2], "block_num": 2, "in_channels": 3}
    sides = {"cm_out_ch": 2, "arm_out_chs": [2, 2, 2], "seg_head_inter_chs": [2, 2, 2]}
    state = ppls.models.PPLiteSeg(num_classes=3, backbone=backbone, **sides).state_dict()
    legacy = io.BytesIO()
    torch.save(state, legacy, _use_new_zipfile_serialization=False)
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        torch.save({"state_dict": state, "epoch": 3}, here / "model.pt")
        ppls.convert_back(here / "model.pt", here / "model.pdparams")
        ppls.convert(here / "model.pdparams", here / "model.safetensors")
        ppls.load(here / "model.safetensors").save_pretrained(here / "hub")
        names = ("model.pt", "model.pdparams", "model.safetensors", "hub/config.json")
        made = {Path(name).name: (here / name).read_bytes() for name in names}
    return {**made, "legacy.pt": legacy.getvalue()}


def checkpoints() -> dict[str, dict[str, bytes]]:
    """Folders of files, the first of each the one to read: every form of weights that ppls reads."""
    weight, bias = np.arange(12, dtype=np.float32).reshape(3, 4), np.zeros(4, np.float16)
    flat = {"fc.weight": weight, "fc.bias": bias, "step": np.array(3, np.int64)}
    nested = {"model": flat, "ema": {"fc.weight": weight.T}, "epoch": 3, "rate": 0.1, "list": [weight, (1, "a")]}
    stream = streams.tensor(weight) + streams.tensor(bias.astype(np.int64))
    named = {"a": weight, "b": bias.astype(np.int64)}
    info = pickle.dumps({"a": {"structured_name": "fc.weight"}, "b": {"structured_name": "fc.bias"}}, 2)
    by_hand = pickles.whole(pickles.dictionary(w=pickles.array()))
    single = streams.tensor(weight, levels=(b"\0" * 16,))
    found = {f"p{protocol}.pdparams": {f"p{protocol}.pdparams": pickled(flat, protocol)} for protocol in (2, 3, 4)}
    files = {
        "nested.pdparams": pickled(nested),
        "split.pdparams": pickled({"UnpackBigParamInfor@@": {"w": {"OriginShape": (3, 4), "slices": ["w@@.0",
        "w@@.1"]}},
                                   "w@@.0": weight.ravel()[:6], "w@@.1": weight.ravel()[6:]}, 2),
        "by_hand.pdparams": by_hand,
        "one.pdtensor": single,
        "plain.safetensors": model()["model.safetensors"],
        "a.tar": tar(m__pdparams=pickled(flat)),
        "a.tar.gz": gzip.compress(tar(m__pdiparams=stream, m__pdmodel=streams.pdmodel(**named))),
        "a.pdparams.gz": gzip.compress(pickled(flat)),
    }  # fmt: skip
    found |= {name: {name: content} for name, content in files.items()}
    found["export"] = {"m.pdiparams": stream, "m.pdmodel": streams.pdmodel(**named), "m.pdiparams.info": info}
    found["pir"] = {"m.pdiparams": stream, "m.json": streams.pir(**named).encode()}
    runs = streams.tensor(np.zeros(2, np.float32)) + streams.tensor(np.ones((5, 3, 1, 1), np.float32))
    found["runs in PIR"] = {"m.pdiparams": runs, "m.json": programs.GOOD["pir"]()}
    found["runs"] = {"m.pdiparams": runs, "m.pdmodel": programs.GOOD["pdmodel"]()}
    found["fluid"] = {"__params__": stream, "__model__": streams.pdmodel(**named)}
    found["variables"] = {
        "a": single,
        "b": streams.tensor(bias.astype(np.int64)),
        "__model__": streams.pdmodel(**named),
    }
    return found


def images() -> dict[str, bytes]:
    """One small picture in every mode and format that PaddleSeg's reader takes."""
    from PIL import Image

    noise = np.random.RandomState(0).randint(0, 256, (7, 9, 4), np.uint8)
    plain, grey = Image.fromarray(noise[..., :3]), Image.fromarray(noise[..., 0])
    indexed = Image.fromarray(noise[..., 0] % 3, "P")
    indexed.putpalette(bytes(range(9)))
    pictures: dict[str, tuple[Any, dict[str, Any]]] = {
        "rgb.png": (plain, {}), "rgba.png": (Image.fromarray(noise), {}), "grey.png": (grey, {}),
        "indexed.png": (indexed, {}),
        "deep.png": (Image.fromarray(noise[..., 0].astype(np.uint16) * 257), {}), "bits.png": (grey.convert("1"), {}),
        "x.jpg": (plain, {}), "cmyk.jpg": (plain.convert("CMYK"), {}), "turned.jpg": (plain, {"exif": _turned()}),
        "x.bmp": (plain, {}), "x.tif": (plain, {"compression": "tiff_lzw"}), "flat.tif": (plain, {}), "x.ppm": (plain,
        {}), "x.pgm": (grey, {}),
        "x.webp": (plain, {}), "moving.webp": (plain, {"save_all": True, "append_images": [plain, plain]}),
        "x.gif.png": (plain, {"format": "GIF"}),
        "x.dds.png": (plain, {"format": "DDS"}), "x.eps.png": (plain, {"format": "EPS"}), "x.ico.png": (plain,
        {"format": "ICO"}),
        "x.tga.png": (plain, {"format": "TGA"}), "x.pcx.png": (plain, {"format": "PCX"}), "x.icns.png": (plain,
        {"format": "ICNS"}),
        "x.jp2.png": (plain, {"format": "JPEG2000"}), "x.pdf.png": (plain, {"format": "PDF"}), "moving.png": (plain,
        {"save_all": True, "append_images": [plain]}),
    }  # fmt: skip
    made = {}
    for name, (picture, options) in pictures.items():
        packed = io.BytesIO()
        form = Image.registered_extensions().get(Path(name).suffix, "PNG")
        try:
            picture.save(packed, **{"format": form, **options})
        except (OSError, KeyError, ValueError):  # this Pillow cannot write it
            continue
        made[name] = packed.getvalue()
    return made


def _turned() -> Any:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def report(sha256: str, candidate_sha256: str) -> bytes:
    """What `ppls-verify --json` prints, of a checkpoint and a model of these digests."""
    return json.dumps({**REPORT, "sha256": sha256, "candidate_sha256": candidate_sha256}).encode()
