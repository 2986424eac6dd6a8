"""PaddleSeg's config of a run and `--set` may say anything: it is understood, or one error says where the fault is."""

from __future__ import annotations

import os
import random
import re
import time
from pathlib import Path

import pytest
import yaml

import ppls
from ppls.converter.given import given_by_overrides, given_by_run, parse_setting
from ppls.converter.inputs import config_files
from ppls.converter.run_config import load_run
from ppls.errors import ConversionError, Error, UsageError
from ppls.inference.evaluation import run_settings
from ppls.inference.preprocessing import Preprocessing
from ppls.mappings.map_file import architectures
from tests.material import SAMPLES, SMALL_RUN

MODEL = "model: {type: PPLiteSeg, num_classes: 3, backbone: {type: STDC1}}\n"

MODELS = [
    "model: []",
    "model: 5",
    "model: PPLiteSeg",
    "model:",
    "model: {type: [1]}",
    "model: {type: {a: 1}}",
    "model: {type: 5}",
    "model: {type: HeavySeg}",
    'model: {type: "PPLite\\0Seg"}',
    "model: {type: PPLiteSeg, depth: 3}",
    "model: {type: PPLiteSeg, 5: 3}",
    "model: {type: PPLiteSeg, num_classes: 3000000000}",
    "model: {type: PPLiteSeg, num_classes: .inf}",
    "model: {type: PPLiteSeg, num_classes: 2020-01-01}",
    "model: {type: PPLiteSeg, num_classes: 'a b'}",
    "model: {type: PPLiteSeg, backbone: 5}",
    "model: {type: PPLiteSeg, backbone: [STDC1]}",
    "model: {type: PPLiteSeg, backbone: {type: [1]}}",
    "model: {type: PPLiteSeg, backbone: {type: STDC1, 1: 2}}",
    "model: {type: PPLiteSeg, backbone: {type: STDC1, base: {a: b}, x: 1}}",
    "model: {type: PPLiteSeg, backbone: {class: os.system, kwargs: {}}}",
    "model: {type: PPLiteSeg, backbone: !!python/object/apply:os.system [ls]}",
    "model: {type: PPLiteSeg, num_classes: !!int x}",
    "model: {type: PPLiteSeg, num_classes: !!timestamp x}",
    "model: &m {type: PPLiteSeg, backbone: *m}",
    "model: {<<: {type: PPLiteSeg}}",
    "train_dataset: []\n" + MODEL,
    "train_dataset: {num_classes: -1}\nmodel: {type: PPLiteSeg}",
    "train_dataset: {num_classes: x}\nmodel: {type: PPLiteSeg}",
    "val_dataset: {num_classes: [1]}\nmodel: {type: PPLiteSeg}",
    "val_dataset: {num_classes: true}\nmodel: {type: PPLiteSeg}",
    "",
    "null",
    "5",
    "- a",
    "a: [",
    "batch_size: 4",
    "%TAG ! a\n---\nmodel: {}",
    "model: {}\n---\nmodel: {}",
    "model: " + "[" * 100_000,
    "model: {a: " * 100,
    "x: [" + "a," * 200_000 + "]\n" + MODEL,
    "x0: &x0 [1]\n" + "".join(f"x{i}: &x{i} [*x{i - 1}, *x{i - 1}]\n" for i in range(1, 60)) + MODEL,
    "model: {type: PPLiteSeg, arm_out_chs: [" + "1," * 2000 + "]}",
    "model: {type: PPLiteSeg, arm_out_chs: [[[[[[1]]]]]]}",
]
BASES = [
    "_base_: 5",
    "_base_: [5]",
    "_base_: [[base.yml]]",
    "_base_: {a: b}",
    "_base_: none.yml",
    "_base_: .",
    "_base_: /",
    "_base_: ''",
    "_base_: run.yml",
    "_base_: ./run.yml",
    "_base_: [base.yml, run.yml]",
    "_base_: loop.yml",
    "_base_: fifo.yml",
    "_base_: /dev/zero",
    "_base_: /dev/stdin",
    '_base_: "a\\0b"',
    '_base_: "a\\eb"',
    "_base_: " + "a" * 5000,
    "_base_: " + "../" * 2000 + "x.yml",
    "_base_: binary.yml",
    "_base_: list.yml",
    "_base_: big.yml",
    "_base_: !!python/name:os.system x",
    "_base_: [" + "base.yml, " * 40 + "]",
]
TRANSFORMS = [
    "5",
    "{type: Normalize}",
    "[5]",
    "[[Normalize]]",
    "[Normalize]",
    "[{}]",
    "[{type: [1]}]",
    "[{type: {a: 1}}]",
    "[{type: null}]",
    "[{type: RandomDistort}]",
    "[{type: __class__}]",
    "[{type: Resize, size: [1, 2]}]",
    "[{type: Resize, target_size: 512}]",
    "[{type: Resize, target_size: [1]}]",
    "[{type: Resize, target_size: [1, 2, 3]}]",
    "[{type: Resize, target_size: ['a', 1]}]",
    "[{type: Resize, target_size: [0, 1]}]",
    "[{type: Resize, target_size: [-1, 1]}]",
    "[{type: Resize, target_size: [1.5, 1]}]",
    "[{type: Resize, target_size: [true, true]}]",
    "[{type: Resize, target_size: [99999999, 1]}]",
    "[{type: Resize, target_size: [.nan, 1]}]",
    "[{type: Resize, interp: RANDOM}]",
    "[{type: Resize, interp: [LINEAR]}]",
    "[{type: Resize, keep_ratio: 5}]",
    "[{type: Resize, size_divisor: 0}]",
    "[{type: Resize, size_divisor: 1.5}]",
    "[{type: ResizeByLong}]",
    "[{type: ResizeByLong, long_size: .inf}]",
    "[{type: ResizeByLong, long_size: .nan}]",
    "[{type: ResizeByLong, long_size: 0}]",
    "[{type: ResizeByLong, long_size: 'x'}]",
    "[{type: ResizeByShort, short_size: [1, 2]}]",
    "[{type: ResizeByShort, short_size: 10, max_size: 0}]",
    "[{type: ResizeByShort, short_size: 10, max_size: .inf}]",
    "[{type: LimitLong, max_long: -1}]",
    "[{type: LimitLong, max_long: 10, min_long: 20}]",
    "[{type: LimitLong, max_long: x}]",
    "[{type: Normalize, mean: 0.5}]",
    "[{type: Normalize, mean: []}]",
    "[{type: Normalize, mean: [1, 2]}]",
    "[{type: Normalize, mean: [a, b, c]}]",
    "[{type: Normalize, mean: [.nan]}]",
    "[{type: Normalize, std: [0.5, 0, 0.5]}]",
    "[{type: Normalize, std: [.inf]}]",
    "[{type: Normalize, std: {a: 1}}]",
    "[{type: Padding}]",
    "[{type: Padding, target_size: [10, 10], im_padding_value: .nan}]",
    "[{type: Padding, target_size: [10, 10], im_padding_value: [1]}]",
    "[{type: PaddingByAspectRatio, aspect_ratio: 0}]",
    "[{type: PaddingByAspectRatio, aspect_ratio: -1}]",
    "[{type: PaddingByAspectRatio, aspect_ratio: .inf}]",
    "[{type: PaddingByAspectRatio, aspect_ratio: 1.0e-300}]",
    "[{type: PaddingByAspectRatio, aspect_ratio: x}]",
    "[" + "{type: Normalize}," * 100 + "]",
]
TESTS = [
    "val_dataset: 5",
    "val_dataset: [1]",
    "val_dataset: {type: [1]}",
    "val_dataset: {type: Dataset, dataset_root: [1]}",
    "val_dataset: {type: Dataset, val_path: 5}",
    "val_dataset: {type: Dataset, separator: {a: 1}}",
    "val_dataset: {type: Dataset, ignore_index: x}",
    "val_dataset: {type: Dataset, ignore_index: 99999999999999999999}",
    'val_dataset: {type: Dataset, dataset_root: "a\\0b"}',
    "val_dataset: {type: Dataset, separator: ''}",
    "test_config: 5",
    "test_config: {aug_eval: 5}",
    "test_config: {aug_eval: true, scales: x}",
    "test_config: {aug_eval: true, scales: []}",
    "test_config: {aug_eval: true, scales: [x]}",
    "test_config: {aug_eval: true, scales: 0}",
    "test_config: {aug_eval: true, scales: -1}",
    "test_config: {aug_eval: true, scales: .inf}",
    "test_config: {aug_eval: true, scales: 1000000}",
    "test_config: {aug_eval: true, flip_horizontal: x}",
    "test_config: {is_slide: true}",
    "test_config: {is_slide: true, crop_size: [1], stride: [1, 1]}",
    "test_config: {is_slide: true, crop_size: [a, b], stride: [1, 1]}",
    "test_config: {is_slide: true, crop_size: [0, 0], stride: [1, 1]}",
    "test_config: {is_slide: true, crop_size: 512, stride: [1, 1]}",
    "test_config: {is_slide: true, crop_size: [512, 512], stride: [-1, 1]}",
]
SETTINGS = [
    "",
    "=",
    "=x",
    " =x",
    "num_classes",
    "num_classes=!!int x",
    "num_classes=!!python/object/apply:os.system [ls]",
    "num_classes=3000000000",
    "num_classes=" + "9" * 5000,
    "num_classes=.inf",
    "num_classes=2020-13-13",
    "num_classes=2020-12-12",
    "num_classes=[1",
    "num_classes=\0",
    "num_classes=\x1b[31m",
    "num_classes=\udc80",
    "num_classes=a b",
    "num_classes=" + "[" * 1000,
    "num_clas\0ses=1",
    "num_clas\x1bses=1",
    "a.b.c.d.e.f=1",
    "." * 1000 + "=1",
    "backbone=5",
    "backbone=[STDC1]",
    "backbone=os.system",
    "backbone={class: os.system, kwargs: {}}",
    "backbone={type: [1]}",
    "backbone.base.x=1",
    "backbone..base=1",
    "__class__=1",
    "arm_type=__import__('os')",
    "arm_out_chs=[[[[[[[1]]]]]]]",
    "arm_out_chs={a: &a [*a]}",
    "num_classes=*a",
    "num_classes=&a [1, *b]",
    "num_classes=1\n---\n2",
    "backbone.layers=[1000000]",
]
WRONG_KINDS = [  # which the options themselves refuse, together with what else is wrong
    "num_classes=-1",
    "num_classes=0",
    "num_classes=true",
    "num_classes=6.0",
    "num_classes=x",
    "num_classes=",
    "num_classes=null",
    "num_classes={a: 1}",
    "arm_out_chs=[[1]]",
    "arm_out_chs=[-1]",
    "arm_out_chs=[1.5]",
    "arm_out_chs=x",
    "arm_out_chs={a: 1}",
    "arm_out_chs=[]",
    "backbone.layers=5",
    "backbone.layers=[[1]]",
    "backbone={type: STDC1, layers: x}",
    "cm_bin_sizes=[[1]]",
    "cm_bin_sizes=[1, x]",
    "cm_bin_sizes=5",
    "cm_bin_sizes=[true, false]",
    "resize_mode=[nearest]",
    "resize_mode=5",
    "resize_mode=area",
    "auxiliary_heads=maybe",
    "auxiliary_heads=1",
    "auxiliary_heads=[true]",
    "arm_type=5",
    "arm_type=[UAFM]",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with what a config may be based on by mistake."""
    (tmp_path / "base.yml").write_text(MODEL)
    (tmp_path / "binary.yml").write_bytes(b"\x80\x02\xff")
    (tmp_path / "list.yml").write_text("- a\n")
    (tmp_path / "big.yml").write_bytes(b"#" * (1 << 20))
    (tmp_path / "loop.yml").symlink_to(tmp_path / "loop.yml")
    os.mkfifo(tmp_path / "fifo.yml")
    return tmp_path


def is_one_line_with_a_place(error: Error) -> bool:
    first, *more = str(error).split("\n")
    return bool(re.search(r"\.yml(:\d+)?: .", first)) and str(error).replace("\n", "").isprintable() and len(more) < 60


@pytest.mark.parametrize("text", [*MODELS, *(f"{base}\n{MODEL}" for base in BASES)], ids=lambda text: repr(text[:50]))
def test_a_config_of_a_model_that_cannot_be_is_one_error_with_its_place(folder: Path, text: str) -> None:
    path = folder / "run.yml"
    path.write_text(text)
    begin = time.process_time()
    with pytest.raises(ConversionError) as caught:
        given_by_run(architectures()["PPLiteSeg"], path)
    assert time.process_time() - begin < 5
    assert is_one_line_with_a_place(caught.value), str(caught.value)
    list(config_files(path))  # what no output may take the place of


@pytest.mark.parametrize("transforms", TRANSFORMS, ids=lambda text: text[:60])
def test_transforms_that_cannot_be_done_are_one_error_with_its_place(folder: Path, transforms: str) -> None:
    path = folder / "run.yml"
    for section in ("val_dataset", "Deploy", "test_dataset"):
        path.write_text(f"{MODEL}{section}:\n  transforms: {transforms}\n")
        with pytest.raises(ConversionError, match=r"run\.yml:3: ") as caught:
            Preprocessing.from_run(path)
        assert is_one_line_with_a_place(caught.value)
        assert given_by_run(architectures()["PPLiteSeg"], path)  # which transforms are no concern of


@pytest.mark.parametrize("text", TESTS)
def test_an_evaluation_that_cannot_be_done_is_one_error_with_its_place(folder: Path, text: str) -> None:
    path = folder / "run.yml"
    path.write_text(f"{MODEL}{text}\n")
    with pytest.raises(ConversionError, match=r"run\.yml:2: ") as caught:
        run_settings(path)
    assert is_one_line_with_a_place(caught.value)


@pytest.mark.parametrize("setting", SETTINGS, ids=ascii)
def test_a_setting_that_cannot_be_is_one_error(setting: str) -> None:
    def given() -> object:
        return given_by_overrides(architectures()["PPLiteSeg"], dict([parse_setting(setting)]))

    with pytest.raises((UsageError, ConversionError), match=r"^--set ") as caught:
        given()
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("setting", WRONG_KINDS)
def test_a_setting_of_another_kind_is_a_problem_that_names_it(small_checkpoint: Path, setting: str) -> None:
    key, value = parse_setting(setting)
    with pytest.raises(ConversionError) as caught:
        ppls.convert(small_checkpoint, overrides={key: value})
    assert any(problem.startswith(key) or f"--set {key}" in problem for problem in caught.value.problems)


def test_a_value_of_another_kind_in_a_config_is_told_with_its_line(small_checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.yml"
    for value in ("-1", "0", "true", "x", "[1]", "6.0"):
        path.write_text(f"model:\n  type: PPLiteSeg\n  num_classes: {value}\n")
        with pytest.raises(ConversionError, match=r"num_classes: .*run\.yml:3 says .*; expected a whole number"):
            ppls.convert(small_checkpoint, config=path)


def test_a_chain_of_configs_is_bounded(tmp_path: Path) -> None:
    for i in range(1500):
        (tmp_path / f"{i}.yml").write_text(f"_base_: {i + 1}.yml\n")
    (tmp_path / "1500.yml").write_text(MODEL)
    with pytest.raises(ConversionError, match="is based on more than 32 files"):
        load_run(tmp_path / "0.yml")
    assert load_run(tmp_path / "1480.yml").plain()["model"]["num_classes"] == 3
    assert len(list(config_files(tmp_path / "1480.yml"))) == 21


def test_files_of_a_chain_share_one_budget(tmp_path: Path) -> None:
    lots = "x: [" + "a," * 40_000 + "]\n"
    (tmp_path / "run.yml").write_text("_base_: [0.yml, 1.yml, 2.yml]\n" + MODEL)
    for i in range(3):
        (tmp_path / f"{i}.yml").write_text(lots)
        assert load_run(tmp_path / f"{i}.yml")
    with pytest.raises(ConversionError, match=r"2\.yml:1: holds more values"):
        load_run(tmp_path / "run.yml")


def test_bases_are_merged_as_paddleseg_merges_them(tmp_path: Path) -> None:
    upstream = pytest.importorskip("paddleseg.cvlibs.config")
    source = random.Random(0)

    def table(depth: int) -> dict[str, object]:
        keys = source.sample(["a", "b", "c", "d"], 3)
        found: dict[str, object] = {
            key: table(depth - 1) if depth and key in "ab" else source.choice([1, "x", [1, 2], None]) for key in keys
        }
        if depth < 2 and source.random() < 0.2:
            found["_inherited_"] = False
        return found

    for _ in range(50):
        for name in ("one", "two", "three"):
            (tmp_path / f"{name}.yml").write_text(yaml.dump(table(2)))
        bases = source.choice(["one.yml", ["one.yml", "two.yml"], ["three.yml", "one.yml"], []])
        (tmp_path / "run.yml").write_text(yaml.dump({"_base_": bases, **table(2)}))
        try:
            expected = upstream.parse_from_yaml(str(tmp_path / "run.yml"))
        except AttributeError:  # a table over a plain value, which PaddleSeg cannot merge
            continue
        assert load_run(tmp_path / "run.yml").plain() == expected


def test_a_key_that_stands_twice_counts_the_last_time_as_for_paddleseg(tmp_path: Path) -> None:
    (tmp_path / "run.yml").write_text("model: {type: PPLiteSeg, num_classes: 3, num_classes: 4}\n")
    assert load_run(tmp_path / "run.yml").plain()["model"]["num_classes"] == 4


HOSTILE = SAMPLES / "hostile2"


@pytest.mark.parametrize(
    "path", [*sorted((HOSTILE / "configs").glob("*.yml")), *sorted(HOSTILE.glob("conf-*.yml"))], ids=lambda p: p.name
)
def test_the_configs_that_broke_the_last_release(path: Path, small_checkpoint: Path) -> None:
    refused = 0
    for attempt in (
        lambda: ppls.convert(small_checkpoint, config=path),
        lambda: Preprocessing.from_run(path),
        lambda: run_settings(path),
    ):
        try:
            attempt()
        except Error as error:
            assert "Traceback" not in str(error)  # noqa: PT017
            refused += 1
    assert refused or path.name == "m03.yml"


def test_a_mutated_config_is_a_config_or_one_error(tmp_path: Path) -> None:
    texts = [path.read_bytes() for path in sorted(SMALL_RUN.rglob("*.y*ml"))]
    source = random.Random(7)
    pieces = [
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
        b".inf",
        b"null",
        b"'",
        b"0",
    ]
    path = tmp_path / "run.yml"
    for _ in range(400):
        content = bytearray(source.choice(texts))
        for _ in range(source.randint(1, 3)):
            at = source.randrange(len(content))
            if source.random() < 0.3:
                content[at : at + source.randint(1, 20)] = b""
            elif source.random() < 0.7:
                content[at:at] = source.choice(pieces)
            else:
                content[at] = source.randrange(256)
        path.write_bytes(bytes(content))
        for attempt in (
            lambda: given_by_run(architectures()["PPLiteSeg"], path),
            lambda: Preprocessing.from_run(path),
            lambda: run_settings(path),
        ):
            try:
                attempt()
            except Error as error:
                assert "run.yml" in str(error)  # noqa: PT017
