"""What every model of ppls is: a torch module that goes to and comes from a hub folder with its provenance.

What reads and writes files is imported when it is used: a model alone needs torch and nothing else of ppls.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin, hf_hub_download
from torch import nn

from ppls.destination import check_destinations, file_that_becomes
from ppls.errors import CheckpointError, ConversionError, all_lines, first_line
from ppls.models.building import build_to_fit
from ppls.models.config import found_config, own_names
from ppls.models.fine_tuning import FineTuned
from ppls.models.numerics import MOST_NUMERICS, apply_numerics
from ppls.models.provenance import checksums
from ppls.models.refitting import refit, wanted_of
from ppls.models.stored import stored_from_torch, to_torch
from ppls.shown import listed
from ppls.temporary import temporary_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from ppls.checkpoint.tensors import StoredTensor
    from ppls.images.usage import Usage

Model = TypeVar("Model", bound="SegmentationModel")

_OF_THE_HUB = ("revision", "cache_dir", "force_download", "local_files_only", "token")
_LARGEST_CARD = 1 << 20  # bytes: a larger one is not of ppls
HUB_FILES = WEIGHTS, CONFIG, CARD = ("model.safetensors", "config.json", "README.md")


class SegmentationModel(
    FineTuned, PyTorchModelHubMixin, library_name="ppls", pipeline_tag="image-segmentation", tags=["paddleseg"]
):
    """The base of ppls's models: takes `(N, 3, H, W)` images, returns a list of logits as PaddleSeg's model does.

    `push_to_hub` and `from_pretrained` are huggingface_hub's, `save_pretrained` does what theirs does; the weights
    keep the metadata of the conversion on the way.
    """

    def load_converted(
        self, tensors: dict[str, torch.Tensor], metadata: dict[str, str], drawn: Collection[str] = ()
    ) -> None:
        """Does what `fill` does, and keeps the metadata; the tensors called `drawn` are not of the file."""
        fill(self, tensors, metadata)
        self.provenance = dict(metadata)
        self.loaded = checksums({name: tensor for name, tensor in tensors.items() if name not in drawn})

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

        return as_input(self, prepare(self, self.usage, image))

    def predict(self, image: str | Path | Image | NDArray[np.uint8]) -> NDArray[Any]:
        """The class of each pixel (H, W), at the image's own size: uint8, or uint16 beyond 256 classes.

        The image as for `preprocess`. The model computes in eval mode, and is in the mode again then that it was in.
        """
        from ppls.models.images import labels, prepare

        return labels(self, prepare(self, self.usage, image))

    def metadata(self) -> dict[str, str]:
        """As `Described.metadata`; names and colours of classes go with the classes that they are of, and preprocessing
        with the channels."""
        metadata, usage = super().metadata(), self._usage_of_now()
        if usage == self.usage:
            return metadata
        return {key: value for key, value in metadata.items() if key not in self.usage.metadata} | usage.metadata

    def _usage_of_now(self) -> Usage:
        """`usage`, without what is said of another number of classes, or of images with other channels."""
        from ppls.models.images import channels_of

        usage = self.usage
        if usage.preprocessing is not None and channels_of(self) != 3:
            usage = replace(usage, preprocessing=None)
        return usage if usage.classes is None and usage.palette is None else usage.for_classes(self.num_classes)

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

        Args:
            config: in place of the model's own.

        Raises:
            ConversionError: a file cannot be written; the model has parts that its class does not build, or the config
                given describes another model: nothing is written then.
        """
        from ppls.checkpoint.converted_file import write_converted_file

        folder = Path(save_directory)
        metadata = self.metadata()
        arrays = {name: stored_from_torch(tensor) for name, tensor in own_names(self.state_dict()).items()}
        own = self._checked_config(config, {name: array.shape for name, array in arrays.items()})
        with temporary_folder() as scratch:
            super().save_pretrained(scratch, config=own, model_card_kwargs=model_card_kwargs)
            found = {name: scratch / name for name in (CONFIG, CARD)}
            beside = {name: path.read_bytes() for name, path in found.items() if path.exists()}
        card = self._kept_card(folder / CARD)
        if os.path.lexists(folder / CARD):
            del beside[CARD]
        check_destinations([folder / name for name in (WEIGHTS, *beside)], force=True, new_folders=True)
        folder.mkdir(parents=True, exist_ok=True)
        if card is not None:  # first: it vouches for the weights before these
            with file_that_becomes(folder / CARD, force=True) as file:
                file.write(card.encode(errors="surrogateescape"))
        write_converted_file(folder / WEIGHTS, arrays, metadata, force=True)
        for name, content in beside.items():
            with file_that_becomes(folder / name, force=True) as file:
                file.write(content)
        if not push_to_hub:
            return None
        repo_id = repo_id or folder.name
        return self.push_to_hub(repo_id, config=config, model_card_kwargs=model_card_kwargs, **push_to_hub_kwargs)

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The card of a folder that has none: where the weights come from, how to use them, the options.

        Given anything, huggingface_hub's.
        """
        from ppls.models.card import card_text  # here: it needs maps

        if args or kwargs:
            return super().generate_model_card(*args, **kwargs)
        return ModelCard(card_text(self, "."))

    def _save_pretrained(self, save_directory: Path) -> None:
        """Nothing: `save_pretrained` takes from huggingface_hub what it writes beside the weights, and writes them."""

    def _kept_card(self, path: Path) -> str | None:
        """What is to stand in a card that is there already; None for what it says now."""
        from ppls.models.card import brought_up_to_date  # here: it needs maps

        if path.is_symlink() or not path.is_file() or path.stat().st_size > _LARGEST_CARD:
            return None
        card = path.read_bytes().decode(errors="surrogateescape")
        true = brought_up_to_date(card, self)
        return None if true == card else true

    def _checked_config(self, given: Any, shapes: Mapping[str, tuple[int, ...]]) -> Any:
        """What is written as the config: `given`, or the model's own, which is as JSON has it.

        Raises `ConversionError` where the weights would not load with what is given.
        """
        own, lost = found_config(self)
        if lost:
            warnings.warn(f"not saved, for no option says them: {listed([str(each) for each in lost])}", stacklevel=3)
        if given is not None:
            options = asdict(given) if is_dataclass(given) and not isinstance(given, type) else given
            known = {key: value for key, value in options.items() if key in own}
            try:
                build_to_fit(type(self), own | known, shapes, "the config that was given")
            except CheckpointError as error:
                raise ConversionError(str(error)) from None
            return given
        for option in [option for option, value in own.items() if isinstance(value, nn.Module)]:
            module = own.pop(option)
            warnings.warn(
                f"{CONFIG} cannot say what {option} is, a {type(module).__name__}: give it to from_pretrained again",
                stacklevel=3,
            )
        return own | self._usage_of_now().labels

    @classmethod
    def from_pretrained(cls: type[Model], pretrained_model_name_or_path: str | Path, **options: Any) -> Model:
        """The model of a folder that `save_pretrained` wrote, or of a repository of the hub; the options are theirs.

        `num_classes`, `in_channels` and heads of training (`auxiliary_heads`, `enable_auxiliary_loss`) may be others
        than the file's: what does not fit is drawn anew, and a warning names it.

        Raises:
            CheckpointError: its config or its weights cannot be read, or do not fit together.
            UsageError: the model has no such option, or not with this value.
        """
        name = str(pretrained_model_name_or_path)
        wanted = wanted_of(options)
        try:
            return super().from_pretrained(name, wanted=wanted, **options)
        except RecursionError:
            raise CheckpointError(f"{name}: cannot be loaded: {CONFIG} is nested too deep") from None
        except (AttributeError, OSError, TypeError, ValueError) as error:
            raise CheckpointError(f"{name}: cannot be loaded: {first_line(error)}") from None

    @classmethod
    def _from_pretrained(
        cls: type[Model],
        *,
        model_id: str,
        map_location: str = "cpu",
        strict: bool = True,
        wanted: Mapping[str, Any] = MappingProxyType({}),
        **options: Any,
    ) -> Model:
        from ppls.checkpoint.reader import read

        # strict whatever was asked for: a half-filled model is never what is wanted
        where = {key: options.pop(key) for key in _OF_THE_HUB}
        folder = Path(model_id)
        file = folder / WEIGHTS if folder.is_dir() else Path(hf_hub_download(model_id, WEIGHTS, **where))
        checkpoint = read(file)
        model = loaded_model(cls, options, wanted, checkpoint.tensors, checkpoint.metadata, str(file))
        assert isinstance(model, cls)
        return model.to(map_location).eval()


def loaded_model(
    build: Callable[..., nn.Module],
    config: Mapping[str, Any],
    wanted: Mapping[str, Any],
    tensors: Mapping[str, StoredTensor],
    metadata: dict[str, str],
    where: str,
) -> nn.Module:
    """The model of a file: a `SegmentationModel`, or a backbone.

    Args:
        build: makes the model: a class.
        config: with which the tensors fit.
        wanted: the options that are to be others: see `refit`.
        where: the file, for messages.

    Raises:
        CheckpointError: they do not fit. UsageError: the model has no such option, or not with this value.
    """
    drawn: list[str] = []
    if wanted:
        model, filled, drawn = refit(build, config, wanted, to_torch(tensors), where)
    else:
        model, filled = build_to_fit(build, config, {name: t.shape for name, t in tensors.items()}, where), {}
    if isinstance(model, SegmentationModel):
        model.load_converted(filled or to_torch(tensors), metadata, drawn)
    else:
        fill(model, filled or to_torch(tensors), metadata)
    return model


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
    if len(numerics) > MOST_NUMERICS:
        raise CheckpointError(f"the numerics in the metadata have {len(numerics):,} patterns, as no map has")
    try:
        apply_numerics(model, numerics)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the numerics in the metadata cannot be applied: {error}") from None
