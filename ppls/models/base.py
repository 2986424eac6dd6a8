"""What every model of ppls is: a torch module that goes to and comes from a hub folder with its provenance."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import nn

from ppls.converter.converted_file import read_metadata, recorded, write_converted_file
from ppls.converter.torch_tensors import stored_from_torch
from ppls.errors import CheckpointError, all_lines
from ppls.models.numerics import apply_numerics

Model = TypeVar("Model", bound="SegmentationModel")


class SegmentationModel(
    nn.Module, PyTorchModelHubMixin, library_name="ppls", pipeline_tag="image-segmentation", tags=["paddleseg"]
):
    """The base of ppls's models: takes `(N, 3, H, W)` images, returns a list of logits as PaddleSeg's model does.

    `save_pretrained`, `push_to_hub` and `from_pretrained` are huggingface_hub's; the weights keep the metadata of the
    conversion on the way.

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

    def _save_pretrained(self, save_directory: Path) -> None:
        arrays = {name: stored_from_torch(tensor) for name, tensor in self.state_dict().items()}
        path = Path(save_directory) / "model.safetensors"
        write_converted_file(path, arrays, {"format": "pt", **self.provenance}, force=True)

    @classmethod
    def _load_as_safetensor(  # type: ignore[override]
        cls, model: Model, model_file: str, map_location: str, strict: bool
    ) -> Model:
        # strict whatever was asked for: a half-filled model is never what is wanted
        from safetensors.torch import load_file

        model.load_converted(load_file(model_file), read_metadata(Path(model_file)))
        return model.to(map_location).eval()


def fill(model: nn.Module, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Makes `tensors` the model's own, strictly and in their type, and sets the numerics that the metadata records.

    Raises:
        CheckpointError: a tensor is missing, unexpected or of another shape.
    """
    try:
        model.load_state_dict(tensors, strict=True, assign=True)
    except RuntimeError as error:
        raise CheckpointError("the weights do not fit the model:", all_lines(error)) from None
    try:
        apply_numerics(model, recorded(metadata, "numerics") if "numerics" in metadata else {})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the numerics in the metadata cannot be applied: {error}") from None
