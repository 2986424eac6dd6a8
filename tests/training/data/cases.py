"""What PaddleSeg and ppls both run: images, transforms with options, and a folder for each class of data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SEEDS = (0, 1, 2, 5)
SIZES = ((45, 60), (61, 40), (48, 48))  # of the images that follow one another
Step = dict[str, Any]


def step(kind: str, **options: Any) -> Step:
    return {"type": kind, **options}


# name: transforms in their order
TRANSFORMS: dict[str, list[Step]] = {
    "flip": [step("RandomHorizontalFlip")],
    "flip_always": [step("RandomHorizontalFlip", prob=1), step("RandomVerticalFlip", prob=1.0)],
    "flip_down": [step("RandomVerticalFlip", prob=0.4)],
    "resize": [step("Resize", target_size=[33, 50])],
    **{f"resize_{i.lower()}": [step("Resize", target_size=[33, 50], interp=i)] for i in ("NEAREST", "CUBIC", "AREA")},
    "resize_lanczos": [step("Resize", target_size=[80, 71], interp="LANCZOS4")],
    "resize_random": [step("Resize", target_size=[37, 29], interp="RANDOM")],
    "resize_ratio": [step("Resize", target_size=[40, 64], keep_ratio=True)],
    "resize_divisor": [step("Resize", target_size=[40, 64], keep_ratio=True, size_divisor=16)],
    "by_long": [step("ResizeByLong", long_size=37)],
    "by_short": [step("ResizeByShort", short_size=35)],
    "by_short_limited": [step("ResizeByShort", short_size=50, max_size=64)],
    "by_short_drawn": [step("ResizeByShort", short_size=[24, 32, 40])],
    "limit": [step("LimitLong", max_long=50)],
    "limit_below": [step("LimitLong", max_long=90, min_long=64)],
    "limit_none": [step("LimitLong")],
    "range": [step("ResizeRangeScaling", min_value=30, max_value=70)],
    "range_one": [step("ResizeRangeScaling", min_value=44, max_value=44)],
    "steps": [step("ResizeStepScaling")],
    "steps_many": [step("ResizeStepScaling", min_scale_factor=0.5, max_scale_factor=2.0, scale_step_size=0.3)],
    "steps_free": [step("ResizeStepScaling", min_scale_factor=0.5, max_scale_factor=2.0, scale_step_size=0)],
    "steps_one": [step("ResizeStepScaling", min_scale_factor=0.7, max_scale_factor=0.7)],
    "normalize": [step("Normalize")],
    "normalize_three": [step("Normalize", mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])],
    "padding": [step("Padding", target_size=[64, 70])],
    "padding_values": [step("Padding", target_size=[64, 70], im_padding_value=3.5, label_padding_value=7)],
    "padding_ratio": [step("PaddingByAspectRatio", aspect_ratio=1.5)],
    "padding_square": [step("PaddingByAspectRatio")],
    "crop": [step("RandomPaddingCrop", crop_size=[30, 20])],
    "crop_padded": [step("RandomPaddingCrop", crop_size=[50, 46], im_padding_value=9, label_padding_value=4)],
    "crop_none": [step("RandomPaddingCrop", crop_size=[48, 48])],
    "crop_mixed": [step("RandomPaddingCrop", crop_size=[30, 20], category_max_ratio=0.6)],
    "center": [step("RandomCenterCrop")],
    "center_part": [step("RandomCenterCrop", retain_ratio=[0.9, 0.55])],
    "center_whole": [step("RandomCenterCrop", retain_ratio=[1, 1])],
    "scale_padding": [step("ScalePadding", target_size=[40, 50])],
    "noise": [step("RandomNoise")],
    "noise_strong": [step("RandomNoise", prob=1, max_sigma=90)],
    "blur": [step("RandomBlur", prob=0.5)],
    **{f"blur_{kind}": [step("RandomBlur", prob=1, blur_type=kind)] for kind in ("median", "blur", "random", "other")},
    "blur_never": [step("RandomBlur", prob=0)],
    "rotation": [step("RandomRotation")],
    "rotation_far": [step("RandomRotation", max_rotation=170, im_padding_value=0, label_padding_value=3)],
    "rotation_none": [step("RandomRotation", max_rotation=0)],
    "aspect": [step("RandomScaleAspect")],
    "aspect_small": [step("RandomScaleAspect", min_scale=0.1, aspect_ratio=0.8)],
    "distort": [step("RandomDistort")],
    "distort_all": [
        step(
            "RandomDistort",
            brightness_prob=1,
            contrast_prob=1,
            saturation_prob=1,
            hue_prob=1,
            hue_range=100,
            sharpness_prob=1,
        )
    ],
    "affine": [step("RandomAffine")],
    "affine_moved": [
        step(
            "RandomAffine",
            size=[50, 40],
            translation_offset=9,
            max_rotation=60,
            min_scale_factor=0.4,
            im_padding_value=11,
            label_padding_value=5,
        )
    ],
    "instances": [step("GenerateInstanceTargets", num_classes=6)],
    "cityscapes": [
        step("ResizeStepScaling", min_scale_factor=0.125, max_scale_factor=1.5, scale_step_size=0.125),
        step("RandomPaddingCrop", crop_size=[32, 24]),
        step("RandomHorizontalFlip"),
        step("RandomDistort", brightness_range=0.5, contrast_range=0.5, saturation_range=0.5),
        step("Normalize"),
    ],
    "all_at_once": [
        step("RandomBlur", prob=0.3),
        step("RandomNoise"),
        step("RandomRotation"),
        step("RandomVerticalFlip", prob=0.5),
        step("RandomScaleAspect"),
        step("RandomAffine", size=[40, 40]),
        step("RandomDistort", sharpness_prob=0.5),
        step("RandomCenterCrop", retain_ratio=[0.8, 0.8]),
        step("ResizeByLong", long_size=40),
        step("Normalize"),
    ],
}
# images, images in a batch, processes
SAMPLERS = [(48, 4, 1), (13, 4, 1), (13, 2, 3), (2, 1, 5), (30, 4, 4)]
GREY = ["flip", "resize", "padding", "crop_padded", "center", "scale_padding", "blur_median", "distort_all", "rotation"]


def image(seed: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    """A picture with areas, edges and noise."""
    draw = np.random.RandomState(seed)
    rows, columns = np.mgrid[:height, :width]
    planes = [
        120 + 90 * np.sin(rows / draw.uniform(3, 15) + columns / draw.uniform(3, 15)) + draw.normal(0, 12, rows.shape)
        for _ in range(channels)
    ]
    return np.stack(planes, 2).clip(0, 255).astype(np.uint8)


def label(seed: int, height: int, width: int, classes: int = 4) -> np.ndarray:
    """Areas of classes, some of it ignored."""
    draw = np.random.RandomState(seed + 1000)
    small = draw.randint(0, classes, (height // 8 + 1, width // 8 + 1))
    found = np.kron(small, np.ones((8, 8), int))[:height, :width]
    found[: height // 7, : width // 3] = 255
    return found.astype(np.uint8)


COMMON = [
    step("ResizeByShort", short_size=[36, 40, 44]),
    step("RandomPaddingCrop", crop_size=[32, 24]),
    step("RandomHorizontalFlip"),
    step("RandomDistort"),
    step("Normalize"),
]
PORTRAIT = {
    "common_transforms": [step("Resize", target_size=[224, 224]), step("RandomAffine", size=[224, 224])],
    "transforms1": [step("Normalize")],
    "transforms2": [step("RandomDistort"), step("RandomBlur", prob=1), step("RandomNoise", prob=1), step("Normalize")],
}

# name: the section of a config, beside its folder and its transforms
SETS: dict[str, dict[str, Any]] = {
    "lists": {"type": "Dataset", "num_classes": 4, "train_path": "lists/train.txt"},
    "lists_edge": {"type": "Dataset", "num_classes": 5, "train_path": "lists/train.txt", "edge": True},
    "lists_grey": {"type": "Dataset", "num_classes": 4, "train_path": "lists/train.txt", "img_channels": 1},
    "lists_comma": {"type": "Dataset", "num_classes": 4, "train_path": "lists/comma.txt", "separator": ","},
    "cityscapes": {"type": "Cityscapes", "mode": "train", "edge": True},
    "voc": {"type": "PascalVOC", "mode": "trainaug"},
    "ade": {"type": "ADE20K", "mode": "train"},
    "coco": {"type": "CocoStuff"},
    "context": {"type": "PascalContext", "mode": "trainval"},
    **{
        name.lower(): {"type": name}
        for name in (
            "OpticDiscSeg",
            "MiniDeepGlobeRoadExtraction",
            "PPHumanSeg14K",
            "STARE",
            "DRIVE",
            "HRF",
            "CHASEDB1",
        )
    },
    "eg1800": {"type": "EG1800"},
    "supervisely": {"type": "SUPERVISELY"},
    "pssl": {"type": "PSSLDataset", "imagenet_root": "pssl/images", "pssl_root": "pssl/segments"},
}
_FOLDERS = {"lists_edge": "lists", "lists_grey": "lists", "lists_comma": "lists"}


def section(name: str, root: Path) -> dict[str, Any]:
    """The section of a config whose paths are below `root`."""
    found = {key: str(root / value) if key.endswith(("_path", "_root")) else value for key, value in SETS[name].items()}
    if name != "pssl":
        found["dataset_root"] = str(root / _FOLDERS.get(name, name))
    return found | (PORTRAIT if name in ("eg1800", "supervisely") else {"transforms": COMMON})


def make_sets(root: Path) -> None:
    """A small data set in the layout of each class."""
    for number in range(3):
        _lists(root / "lists", number)
        _city(root / "cityscapes", number)
        _voc(root / "voc", number)
        _ade(root / "ade", number)
        _write(root / "coco", f"images/train2017/{number}.jpg", f"annotations/train2017/{number}.png", number, 9)
        _write(root / "context", f"JPEGImages/{number}.jpg", f"Context/{number}.png", number, 9)
        _line(root / "context/ImageSets/Segmentation/trainval_context.txt", str(number))
        for name in ("opticdiscseg", "stare", "drive", "hrf", "chasedb1"):
            _pair(root / name, "train_list.txt", number, " ")
        _pair(root / "minideepgloberoadextraction", "train.txt", number, "|")
        _pair(root / "pphumanseg14k", "train.txt", number, " ")
        _write(root / "eg1800", f"Images/{number}.png", f"Labels/{number}.png", number, 2)
        _line(root / "eg1800/eg1800_train.txt", f"{number}.png")
        _write(root / "supervisely", f"a/img/{number}.png", f"a/ann/{number}.png", number, 2)
        _line(root / "supervisely/supervisely_face_train_easy.txt", f"Supervisely/a/img/{number}.png")
        _segments(root / "pssl", number)


def _lists(root: Path, number: int) -> None:
    suffix = ("png", "jpg", "bmp")[number]
    _write(root, f"images/{number}.{suffix}", f"labels/{number}.png", number, 4)
    _line(root / "train.txt", f"images/{number}.{suffix} labels/{number}.png")
    _line(root / "comma.txt", f"images/{number}.{suffix},labels/{number}.png")


def _ade(root: Path, number: int) -> None:
    name = f"annotations/training/{number}.png"
    _write(root, f"images/training/{number}.jpg", name, number, 5)
    found = np.asarray(Image.open(root / name))
    Image.fromarray(np.where(found == 255, 0, found)).save(root / name)


def _city(root: Path, number: int) -> None:
    name = f"train/town{number % 2}/town_{number}"
    _write(root, f"leftImg8bit/{name}_leftImg8bit.png", f"gtFine/{name}_gtFine_labelTrainIds.png", number, 6)


def _voc(root: Path, number: int) -> None:
    labels = "SegmentationClassAug" if number == 2 else "SegmentationClass"
    _write(root, f"VOC2012/JPEGImages/{number}.jpg", f"VOC2012/{labels}/{number}.png", number, 9, palette=True)
    _line(root / "VOC2012/ImageSets/Segmentation" / ("aug.txt" if number == 2 else "train.txt"), str(number))


def _pair(root: Path, name: str, number: int, separator: str) -> None:
    _write(root, f"JPEGImages/{number}.jpg", f"Annotations/{number}.png", number, 2, palette=True)
    _line(root / name, f"JPEGImages/{number}.jpg{separator}Annotations/{number}.png")


def _segments(root: Path, number: int) -> None:
    name = f"train/n0{number}/n0{number}_1.JPEG"
    _write(root / "images", name, "unused.png", number, 2)
    path = root / "segments" / f"{name}_eiseg.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, label(number, *SIZES[number], 2).astype(np.int64) % 2)
    _line(root / "segments/train.txt", f"{name}_eiseg.npz")
    _line(root / "segments/imagenet_lsvrc_2015_synsets.txt", f"n0{2 - number}")


def _write(root: Path, picture: str, annotation: str, number: int, classes: int, palette: bool = False) -> None:
    height, width = SIZES[number]
    for name in (picture, annotation):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image(number, height, width)).save(root / picture, **_quality(picture))
    found = Image.fromarray(label(number, height, width, classes))
    if palette:
        found = found.convert("P")
        found.putdata(label(number, height, width, classes).reshape(-1).tolist())
    found.save(root / annotation)


def _quality(name: str) -> dict[str, Any]:
    return {"format": "JPEG", "quality": 90} if name.lower().endswith(("jpg", "jpeg")) else {}


def _line(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(f"{text}\n")
