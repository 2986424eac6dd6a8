"""What every model of ppls is: a torch module that goes to and comes from a hub folder with its provenance.

What reads and writes files is imported when it is used: a model alone needs torch and nothing else of ppls.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
from torch import nn

from ppls.destination import check_destinations, file_that_becomes
from ppls.errors import CheckpointError, all_lines, first_line
from ppls.models.building import build_to_fit
from ppls.models.numerics import apply_numerics
from ppls.temporary import temporary_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from ppls.images.usage import Usage

Model = TypeVar("Model", bound="SegmentationModel")

_OF_THE_HUB = ("revision", "cache_dir", "force_download", "local_files_only", "token")
_MOST_NUMERICS = 100  # kinds and patterns: each is held against every module
HUB_FILES = WEIGHTS, CONFIG, CARD = ("model.safetensors", "config.json", "README.md")


class SegmentationModel(
    nn.Module, PyTorchModelHubMixin, library_name="ppls", pipeline_tag="image-segmentation", tags=["paddleseg"]
):
    """The base of ppls's models: takes `(N, 3, H, W)` images, returns a list of logits as PaddleSeg's model does.

    `push_to_hub` and `from_pretrained` are huggingface_hub's, `save_pretrained` does what theirs does; the weights
    keep the metadata of the conversion on the way.

    Attributes:
        provenance: the metadata of the converted file that the weights came from; empty for a model built by hand.
    """

    provenance: dict[str, str]

    def __init__(self) -> None:
        super().__init__()
        self.provenance = {}

    def load_converted(self, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
        """Does what `fill` does, and keeps the metadata."""
        fill(self, tensors, metadata)
        self.provenance = dict(metadata)

    @property
    def usage(self) -> Usage:
        """Preprocessing, class names and palette, as far as the file of the weights says.

        Raises `CheckpointError` where the metadata is damaged.
        """
        from ppls.images.usage import Usage

        return Usage.recorded(self.provenance)

    def preprocess(self, image: str | Path | Image | NDArray[np.uint8]) -> torch.Tensor:
        """The model's input (1, 3, H, W) for an image, on the model's device and in its type.

        As the weights' file says; else PaddleSeg's default, which is warned of.

        Args:
            image: a file, an image of Pillow's, or RGB pixels (H, W, 3) in uint8.

        Raises:
            InputError: the image cannot be read, or is too large for what is done to it.
        """
        from ppls.models.images import as_input, prepare

        return as_input(self, prepare(self.usage, image))

    def predict(self, image: str | Path | Image | NDArray[np.uint8]) -> NDArray[Any]:
        """The class of each pixel (H, W), at the image's own size: uint8, or uint16 beyond 256 classes.

        The image as for `preprocess`. The model computes in eval mode, and is in the mode again then that it was in.
        """
        from ppls.models.images import labels, prepare

        return labels(self, prepare(self.usage, image))

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        config: Any = None,
        repo_id: str | None = None,
        push_to_hub: bool = False,
        model_card_kwargs: dict[str, Any] | None = None,
        **push_to_hub_kwargs: Any,
    ) -> str | None:
        """Writes `model.safetensors`, `config.json` and, where there is none, `README.md`, in this order.

        As huggingface_hub's, whose arguments these are; but each file appears whole in the place of the one before it,
        and none is written through a link.

        Raises:
            ConversionError: a file cannot be written.
        """
        from ppls.checkpoint.converted_file import write_converted_file
        from ppls.models.stored import stored_from_torch

        folder = Path(save_directory)
        with temporary_folder() as scratch:
            super().save_pretrained(scratch, config=config, model_card_kwargs=model_card_kwargs)
            found = {name: scratch / name for name in (CONFIG, CARD)}
            beside = {name: path.read_bytes() for name, path in found.items() if path.exists()}
        if os.path.lexists(folder / CARD):
            del beside[CARD]
        check_destinations([folder / name for name in (WEIGHTS, *beside)], force=True, new_folders=True)
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {name: stored_from_torch(tensor) for name, tensor in self.state_dict().items()}
        write_converted_file(folder / WEIGHTS, arrays, {"format": "pt", **self.provenance}, force=True)
        for name, content in beside.items():
            with file_that_becomes(folder / name, force=True) as file:
                file.write(content)
        if not push_to_hub:
            return None
        repo_id = repo_id or folder.name
        return self.push_to_hub(repo_id, config=config, model_card_kwargs=model_card_kwargs, **push_to_hub_kwargs)

    def _save_pretrained(self, save_directory: Path) -> None:
        """Nothing: `save_pretrained` takes from huggingface_hub what it writes beside the weights, and writes them."""

    @classmethod
    def from_pretrained(cls: type[Model], pretrained_model_name_or_path: str | Path, **options: Any) -> Model:
        """The model of a folder that `save_pretrained` wrote, or of a repository of the hub; the options are theirs.

        Raises:
            CheckpointError: its config or its weights cannot be read, or do not fit together.
        """
        name = str(pretrained_model_name_or_path)
        try:
            return super().from_pretrained(name, **options)
        except RecursionError:
            raise CheckpointError(f"{name}: cannot be loaded: {CONFIG} is nested too deep") from None
        except (AttributeError, OSError, TypeError, ValueError) as error:
            raise CheckpointError(f"{name}: cannot be loaded: {first_line(error)}") from None

    @classmethod
    def _from_pretrained(
        cls: type[Model], *, model_id: str, map_location: str = "cpu", strict: bool = True, **options: Any
    ) -> Model:
        from ppls.checkpoint.reader import read
        from ppls.models.stored import to_torch

        # strict whatever was asked for: a half-filled model is never what is wanted
        where = {key: options.pop(key) for key in _OF_THE_HUB}
        folder = Path(model_id)
        file = folder / WEIGHTS if folder.is_dir() else Path(hf_hub_download(model_id, WEIGHTS, **where))
        checkpoint = read(file)
        model = build_to_fit(cls, options, checkpoint.shapes, str(file))
        assert isinstance(model, cls)
        model.load_converted(to_torch(checkpoint.tensors), checkpoint.metadata)
        return model.to(map_location).eval()


def fill(model: nn.Module, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Makes `tensors` the model's own, strictly and in their type, and sets the numerics that the metadata records.

    Raises:
        CheckpointError: a tensor is missing, unexpected or of another shape.
    """
    from ppls.checkpoint.converted_file import recorded

    try:
        model.load_state_dict(tensors, strict=True, assign=True)
    except RuntimeError as error:
        raise CheckpointError("the weights do not fit the model:", all_lines(error)) from None
    numerics = recorded(metadata, "numerics") if "numerics" in metadata else {}
    if len(numerics) > _MOST_NUMERICS:
        raise CheckpointError(f"the numerics in the metadata have {len(numerics):,} patterns, as no map has")
    try:
        apply_numerics(model, numerics)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the numerics in the metadata cannot be applied: {error}") from None
