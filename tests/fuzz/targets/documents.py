"""What is written as text: maps, configs of a run, `--set`, lists of a data set, and reports for a card."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import ppls
from ppls.cli.summary import print_conversion, print_map
from ppls.converter.given import parse_setting
from ppls.converter.recognise import named_map
from ppls.errors import Error
from ppls.models.base import SegmentationModel
from ppls.models.digest import model_sha256
from tests.fuzz import examples, samples
from tests.fuzz.case import Case
from tests.fuzz.runner import Place, Target
from tests.fuzz.targets.checkpoints import printed_json

_CHECKPOINT, _SIZED = "model.pdparams", "sized.pdparams"
_MAPPINGS = Path(ppls.__file__).parent / "mappings"


@lru_cache
def maps() -> Sequence[Case]:
    sized = {_SIZED: examples.pickled(examples.tiny_tensors())}
    tiny = Case({"map.yaml": examples.TINY_MAP, **sized}, "map.yaml", fixed=frozenset(sized))
    shipped = []
    for folder in (_MAPPINGS / "paddleseg", _MAPPINGS / "ports"):
        texts = {path.name: path.read_bytes() for path in sorted(folder.glob("*.yaml"))}
        shipped += [Case(texts, name, fixed=frozenset(texts) - {name}) for name in texts]
    hostile = [Case({name: text, **sized}, name, fixed=frozenset(sized)) for name, text in samples.texts("maps")]
    return [tiny] * (len(shipped) + len(hostile)) + shipped + hostile


def _map(place: Place, case: Case) -> Iterable[str]:
    checked = named_map(None, place.given)
    assert checked is not None
    print_map(checked)
    if _SIZED in case.files:
        result = ppls.convert(place.given.parent / _SIZED, place.out / "x.safetensors", map=place.given)
        print_conversion(result)
        yield printed_json(result.to_json())
        there, back = place.out / "x.safetensors", place.out / "x.pdparams"
        yield from each(lambda: print_conversion(ppls.convert_back(there, back, map=place.given)))


@lru_cache
def _configs() -> Sequence[Case]:
    model = {_CHECKPOINT: examples.model()[_CHECKPOINT]}
    run = Case(
        {"run.yml": examples.CONFIG, "base.yml": examples.BASE_CONFIG, **model}, "run.yml", fixed=frozenset(model)
    )
    deploy = Case({"deploy.yaml": examples.DEPLOY}, "deploy.yaml")
    hostile = [Case({name: text, **model}, name, fixed=frozenset(model)) for name, text in samples.texts("configs")]
    return [run] * (2 + len(hostile)) + [deploy, *hostile]


def _config(place: Place, case: Case) -> Iterable[str]:
    import numpy as np

    from ppls.inference.evaluation import run_settings
    from ppls.inference.inference import Inference
    from ppls.inference.preprocessing import Preprocessing

    yield from each(
        lambda: run_settings(place.given),
        lambda: Inference(
            **{key: value for key, value in run_settings(place.given).items() if key in Inference.__dataclass_fields__}
        ),
        lambda: Preprocessing.from_run(place.given)(np.zeros((9, 7, 3), np.uint8)),
    )
    if _CHECKPOINT in case.files:
        result = ppls.convert(place.given.parent / _CHECKPOINT, place.out / "x.safetensors", config=place.given)
        print_conversion(result)
        yield printed_json(result.to_json())


def each(*attempts: object) -> Iterable[str]:
    """The messages of those that refuse, so that one refusal does not hide what the next would do."""
    for attempt in attempts:
        try:
            attempt()  # type: ignore[operator]
        except Error as error:
            yield str(error)


@lru_cache
def _settings() -> Sequence[Case]:
    model = {_CHECKPOINT: examples.model()[_CHECKPOINT]}
    settings = (
        "cm_bin_sizes=[1,2,4]", "resize_mode=bilinear", "num_classes=3", "backbone={type: STDCNet, base: 2}",
        "backbone.layers=[2,2,2]",
        "backbone=STDC1", "auxiliary_heads=true", "arm_type=UAFM_SpAtten", "context_resize_mode=nearest",
    )  # fmt: skip
    return [Case({"set": text.encode(), **model}, "set", fixed=frozenset(model)) for text in settings]


def _setting(place: Place, case: Case) -> Iterable[str]:
    # what reaches a program as an argument: bytes that are no UTF-8 come as lone surrogates, NUL never does
    text = case.files["set"].decode("utf-8", "surrogateescape").replace("\0", "") if "set" in case.files else ""
    overrides = dict([parse_setting(text)])
    result = ppls.convert(place.given.parent / _CHECKPOINT, place.out / "x.safetensors", overrides=overrides)
    print_conversion(result)
    yield printed_json(result.to_json())


@lru_cache
def _lists() -> Sequence[Case]:
    png = examples.images()["rgb.png"]
    files = {"images/a.png": png, "labels/a.png": png, "images/b c.png": png, "labels/b c.png": png}
    names = b"images/a.png labels/a.png\nimages/a.png labels/a.png\n\n"
    voc = {"ImageSets/Segmentation/val.txt": b"a\na\n", "JPEGImages/a.jpg": png, "SegmentationClass/a.png": png}
    camvid = {
        "val.txt": b"/SegNet/CamVid/val/a.png /SegNet/CamVid/valannot/a.png\n",
        "val/a.png": png,
        "valannot/a.png": png,
    }
    layouts = {"list": {"list.txt": names, **files}, "voc": voc, "camvid": camvid, "sbd": voc}
    lists = {
        "list": "list.txt",
        "voc": "ImageSets/Segmentation/val.txt",
        "camvid": "val.txt",
        "sbd": "ImageSets/Segmentation/val.txt",
    }
    return [
        Case(content, lists[layout], {"layout": layout}, fixed=frozenset(content) - {lists[layout]})
        for layout, content in layouts.items()
    ] + [
        Case({"list.txt": text, **files}, "list.txt", {"layout": "list"}, fixed=frozenset(files))
        for text in (
            b"\xef\xbb\xbf" + names,
            names.replace(b"\n", b"\r\n"),
            names + b"x" * 5000 + b" y",
            b"images/b c.png labels/b c.png",
            b"",
        )
    ]


def _list(place: Place, case: Case) -> Iterable[str]:
    layout = str(case.options["layout"])
    root = place.given.parents[len(Path(case.given).parts) - 1]
    samples = ppls.read_samples(root, place.given if layout == "list" else None, layout=layout)
    assert all(sample.image.is_file() and sample.label.is_file() for sample in samples)
    return ()


@lru_cache
def _vouched_for() -> SegmentationModel:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        path.write_bytes(examples.model()[path.name])
        model = ppls.load(path)
    assert isinstance(model, SegmentationModel)
    return model


@lru_cache
def _reports() -> Sequence[Case]:
    model = _vouched_for()
    report = examples.report(model.provenance["source_sha256"], model_sha256(model))
    return [Case({"report.json": report}, "report.json")]


def _card(place: Place, case: Case) -> Iterable[str]:
    folder = ppls.to_hub_folder(_vouched_for(), place.out / "hub", report=place.given)
    yield inert((folder / "README.md").read_text())


def inert(card: str) -> str:
    """A model card in which nothing of the input is Markdown: no link, no picture, no heading, no HTML."""
    without_blocks = re.sub(r"^(`{3,})[a-z]+\n.*?\n\1$", "", card, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"`[^`\n]*`", "", without_blocks)
    for sign in ("](", "<script", "<img", "<!--", "# verified", "evil.example", "**pass**\n\n", "license: mit", "```"):
        assert sign not in text, f"{sign!r} stands in the card as it is"
    return card


TARGETS = (
    Target("map", 14, maps, _map),
    Target("config", 10, _configs, _config, reads_elsewhere=True),
    Target("set", 6, _settings, _setting),
    Target("list", 5, _lists, _list, reads_elsewhere=True),
    Target("card", 3, _reports, _card),
)
