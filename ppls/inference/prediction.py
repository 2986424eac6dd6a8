"""`ppls.predict`: label maps, pseudo-colours and overlays of images, as PaddleSeg's predict.py makes them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ppls.converter.inputs import config_files, weight_files
from ppls.destination import check_destinations
from ppls.errors import Error, InputError, UsageError
from ppls.files import files_below
from ppls.images import SUFFIXES, read_rgb
from ppls.images.transforms import Prepared, Transforms, restore
from ppls.inference.devices import find_device, in_use
from ppls.inference.inference import Inference, is_out_of_memory
from ppls.inference.palettes import palette as palette_of
from ppls.inference.pictures import overlay, write_labels, write_picture
from ppls.inference.preprocessing import Preprocessing
from ppls.inference.usage import ImageUse, Say

Array = np.ndarray[Any, Any]

# the folders that PaddleSeg's predict.py writes
COLOURED, BLENDED, LABELS = "pseudo_color_prediction", "added_prediction", "label_map"


@dataclass(frozen=True)
class Prediction:
    """What was predicted for one image.

    Attributes:
        image: its file.
        labels: the class of each pixel, at the image's own size: uint8, or uint16 beyond 256 classes, (H, W).
        files: what was written: the indexed PNG, whose values are the labels, and the overlay.
    """

    image: Path
    labels: Array
    files: tuple[Path, ...] = ()

    def to_json(self) -> dict[str, Any]:
        classes, counts = np.unique(self.labels, return_counts=True)
        return {
            "image": str(self.image),
            "size": list(self.labels.shape),
            "pixels": {str(c): int(n) for c, n in zip(classes, counts, strict=True)},
            "files": [str(path) for path in self.files],
        }


@dataclass(frozen=True)
class _Named:
    path: Path
    name: Path  # below the folders of the output, with its suffix


@dataclass
class _Batch:
    named: list[_Named] = field(default_factory=list)
    pixels: list[Array] = field(default_factory=list)
    prepared: list[Prepared] = field(default_factory=list)


def find_images(sources: Iterable[str | Path]) -> list[Path]:
    """The images that files and folders (searched through) stand for. Raises `InputError` if one has none."""
    return [named.path for named in _find(sources, None)]


def predict(
    model: str | Path | torch.nn.Module,
    images: str | Path | Iterable[str | Path],
    destination: str | Path | None = None,
    *,
    preprocessing: Transforms | None = None,
    config: str | Path | None = None,
    conversion: Mapping[str, Any] | None = None,
    inference: Inference | None = None,
    palette: str | None = None,
    device: str | torch.device = "cpu",
    batch_size: int = 1,
    max_pixels: int | None = None,
    force: bool = False,
    on_error: Callable[[InputError], None] | None = None,
    on_prediction: Callable[[Prediction], None] | None = None,
    say: Say | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Prediction]:
    """Predicts the class of every pixel of every image, and writes the pictures of it.

    Args:
        model: a converted file, anything that `ppls.load` takes, or a module that gives logits (N, C, H, W).
        images: files and folders; what an earlier run wrote into a folder of them is none of them.
        destination: the folder for `pseudo_color_prediction/NAME.png` (indexed: its values are the label map) and
            `added_prediction/NAME` (the overlay); beyond 256 classes `label_map/NAME.png` holds the labels, in 16 bits,
            and the other is RGB. None writes nothing.
        preprocessing: what happens to an image first. Default: what `config` says, else the model's own file, else
            `Normalize` with 0.5.
        config: PaddleSeg's config of the run.
        conversion: further options of `ppls.convert` where `model` is a Paddle file: architecture, map, overrides.
        inference: scales, flips, a sliding window. Default: the image as a whole.
        palette: see `ppls.inference.palettes.palette`. Default: the model's own, else `paddleseg`.
        batch_size: so many images are computed at once if they are of one size.
        max_pixels: larger images are refused before they are decoded; see `ppls.images.read_rgb`.
        force: replace pictures that exist.
        on_error: called for an image that cannot be used, which is then left out. Default: the error is raised.
        on_prediction: given each prediction once its pictures are written; none is kept then, and memory stays flat.
        say: called with a line for each thing that is used and was not asked for, and who said it. Default: what is
            assumed is warned of.
        progress: called with the number of images done and of all.

    Returns:
        One `Prediction` for each image, in the order of `images`, folders searched by name; none if `on_prediction` had
        them.

    Raises:
        InputError: an image is missing or cannot be read; two images would be written to the same file.
        ConversionError: a picture exists (without `force`) or cannot be written; said before anything is computed.
        UsageError: no such device or palette, or a palette too small for the model.
        Error: the memory does not suffice; the message says which size does.
    """
    if batch_size < 1:
        raise UsageError(f"--batch {batch_size}: at least one image is computed at once")
    place = find_device(device)
    found = _find([images] if isinstance(images, (str, Path)) else images, destination, on_error)
    palette_of(palette or "paddleseg", 1)  # an unknown one is said before the model is loaded
    if destination is not None:
        check_destinations(
            [file for named in found for file in _files(Path(destination), named.name, labels=force)],
            force=force,
            inputs={
                "image": [named.path for named in found],
                "model": () if isinstance(model, torch.nn.Module) else weight_files(model),
                "config": config_files(config),
                "map": [(conversion or {}).get("map")],
            },
            new_folders=True,
        )
    preprocessing = Preprocessing.asked(preprocessing, config)
    run = inference or Inference()
    results: list[Prediction] = []
    keep = on_prediction or results.append
    done = 0
    with in_use(model, place, config, conversion) as loaded:
        colours: Array | None = None
        use = ImageUse.of(loaded, preprocessing, palette, say)
        for batch in _batches(found, use.preprocessing, batch_size, max_pixels, on_error):
            labels, classes = _labels(loaded, batch, run, place)
            colours = use.colours(classes) if colours is None else colours
            for named, pixels, found_labels in zip(batch.named, batch.pixels, labels, strict=True):
                files = () if destination is None else _files(Path(destination), named.name, classes > 256)
                _write(files, pixels, found_labels, colours, force)
                keep(Prediction(named.path, found_labels, files))
            done += len(batch.named)
            if progress is not None:
                progress(done, len(found))
    return results


def _find(
    sources: Iterable[str | Path],
    destination: str | Path | None,
    on_error: Callable[[InputError], None] | None = None,
) -> list[_Named]:
    found: dict[Path, _Named] = {}
    for source in map(Path, sources):
        try:
            for named in _images_of(source, _outputs_in(source, destination)):
                target = named.name.with_suffix("")
                if target in found and found[target].path != named.path:
                    raise InputError(
                        f"{named.path} and {found[target].path} would be written to the same file; "
                        "predict them into two folders"
                    )
                found[target] = named
        except InputError as error:
            if on_error is None:
                raise
            on_error(error)
    return list(found.values())


def _outputs_in(source: Path, destination: str | Path | None) -> list[Path]:
    """The folders of pictures of `destination` that lie in the folder `source`: an earlier run's are no images."""
    if destination is None:
        return []
    within = Path(os.path.realpath(source))
    folders = [Path(os.path.realpath(Path(destination) / name)) for name in (COLOURED, BLENDED, LABELS)]
    return [source / folder.relative_to(within) for folder in folders if within in folder.parents]


def _images_of(source: Path, outputs: Sequence[Path]) -> list[_Named]:
    if not os.path.isdir(source):
        if not os.path.lexists(source):
            raise InputError(f"{source}: no such image or folder")
        return [_Named(source, Path(source.name))]
    try:
        files = files_below(source)
    except OSError as error:  # or images would be left out silently
        raise InputError(f"{error.filename or source}: cannot be searched: {error.strerror}") from None
    images = [
        path
        for path in files
        if path.suffix.lower() in SUFFIXES
        and not path.name.startswith(".")
        and not any(folder in path.parents for folder in outputs)
    ]
    if not images:
        raise InputError(f"{source}: the folder holds no images ({', '.join(sorted(SUFFIXES))})")
    return [_Named(path, path.relative_to(source)) for path in images]


def _batches(
    found: Sequence[_Named],
    prepare: Transforms,
    size: int,
    max_pixels: int | None,
    on_error: Callable[[InputError], None] | None,
) -> Iterator[_Batch]:
    """Neighbours of one size, up to `size` of them."""
    batch = _Batch()
    for named in found:
        try:
            pixels = read_rgb(named.path, max_pixels)
            try:
                prepared = prepare(pixels)
            except InputError as error:
                raise InputError(f"{named.path}: {error}") from None
        except InputError as error:
            if on_error is None:
                raise
            on_error(error)
            continue
        if batch.named and (len(batch.named) == size or prepared.size != batch.prepared[0].size):
            yield batch
            batch = _Batch()
        batch.named.append(named)
        batch.pixels.append(pixels)
        batch.prepared.append(prepared)
    if batch.named:
        yield batch


@torch.inference_mode()
def _labels(model: torch.nn.Module, batch: _Batch, run: Inference, device: torch.device) -> tuple[list[Array], int]:
    """The labels of each image, and how many classes there are."""
    logits = run(model, torch.cat([prepared.tensor for prepared in batch.prepared]).to(device))
    classes = logits.shape[1]
    found: list[Array] = []
    for i, prepared in enumerate(batch.prepared):
        try:
            labels = restore(logits[i : i + 1], prepared.undo).argmax(1)[0].cpu().numpy()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            height, width = batch.pixels[i].shape[:2]
            raise Error(
                f"{batch.named[i].path}: out of memory: {classes} classes at {height}x{width} (height x width) do "
                f"not fit into the memory of {device}; reduce the image, or use --device cpu"
            ) from None
        found.append(labels.astype(np.uint8 if classes <= 256 else np.uint16))
    return found, classes


def _files(folder: Path, name: Path, labels: bool) -> tuple[Path, ...]:
    """The colours, the overlay, and, as beyond 256 classes, the labels."""
    png = name.with_suffix(".png")
    # PaddleSeg keeps the image's own format for the overlay; formats that lose nothing become PNG
    blended = name if name.suffix.lower() in (".jpg", ".jpeg") else png
    files = (folder / COLOURED / png, folder / BLENDED / blended)
    return (*files, folder / LABELS / png) if labels else files


def _write(files: Sequence[Path], pixels: Array, labels: Array, colours: Array, force: bool) -> None:
    if not files:
        return
    coloured, blended, *beside = files
    for path in beside:
        write_labels(path, labels, colours, force=force)
    if beside:
        write_picture(coloured, colours[labels], force=force)
    else:
        write_labels(coloured, labels, colours, force=force)
    write_picture(blended, overlay(pixels, labels, colours), force=force)
