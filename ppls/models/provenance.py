"""What a model is, and where its weights come from, as it is true of them now."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ppls.models.building import without_values
from ppls.models.config import config_of, options_of, own_names
from ppls.models.numerics import numerics_of
from ppls.models.stored import stored_from_torch
from ppls.version import __version__

TRAINED_FROM = "trained_from"  # in the metadata: the SHA-256 of the checkpoint that the weights were once
# What is true of the very tensors of a checkpoint alone.
_OF_THE_CHECKPOINT = ("source_sha256", "source_format", "dtype")
_ORIGIN = ("architecture", "era", "ppls_version", TRAINED_FROM, *_OF_THE_CHECKPOINT)


def checksums(tensors: Mapping[str, torch.Tensor]) -> dict[str, int]:
    """A number for each tensor, of its type, shape and bytes, by which it is found to be another."""
    found = {}
    for name, tensor in own_names(tensors).items():
        stored = stored_from_torch(tensor)
        found[name] = zlib.crc32(f"{stored.dtype} {list(stored.shape)}".encode())
        for block in stored.blocks():
            found[name] = zlib.crc32(block.data, found[name])
    return found


class Described(nn.Module):
    """A model that says what it is and where its weights come from.

    Attributes:
        provenance: the metadata of the converted file that the weights came from; empty for a model built by hand.
        loaded: what the tensors of that file were: see `checksums`.
    """

    provenance: dict[str, str]
    loaded: dict[str, int]

    def __init__(self) -> None:
        super().__init__()
        self.provenance, self.loaded = {}, {}

    @property
    def config(self) -> dict[str, Any]:
        """The options with which the class builds a model like this one as it is, whatever it was built with.

        Raises:
            ConversionError: there are none: it was given parts that its class does not build.
        """
        return config_of(self)

    def __getattr__(self, name: str) -> Any:
        own = getattr(type(self), name, None)
        if isinstance(own, property) and own.fget is not None:  # torch would say that there is none
            return own.fget(self)
        return super().__getattr__(name)

    def is_changed(self) -> bool:
        """Whether the weights are others than those that were loaded; False where none were."""
        return bool(self.loaded) and checksums(self.state_dict()) != self.loaded

    def metadata(self) -> dict[str, str]:
        """What a file says beside the model's weights: `provenance`, as it is true of the model now.

        Of weights that are no longer those of a checkpoint it says what they were trained from. A model that was built
        by hand is described as one that was converted, but from nothing.

        Raises:
            ConversionError: the model has parts that its class does not build.
        """
        config = config_of(self)
        if any(isinstance(value, nn.Module) for value in config.values()):  # of the user's own, which no file names
            return {"format": "pt"}
        metadata = {"format": "pt", **(self.provenance or _built(type(self)))}
        numerics = json.loads(metadata.get("numerics", "{}"))
        found = numerics_of(self, without_values(type(self), config), numerics)
        if "config" not in metadata:  # of a class that is not ppls's own
            return self._true(metadata)
        if options_of(without_values(type(self), json.loads(metadata["config"]))) != config:
            metadata["config"] = json.dumps(config, sort_keys=True)
        if found != numerics:
            metadata["numerics"] = json.dumps(found, sort_keys=True)
        return self._true(metadata)

    def origin(self) -> dict[str, str]:
        """Of `metadata`, what says where the weights come from."""
        return self._true({key: value for key, value in self.provenance.items() if key in _ORIGIN})

    def _true(self, metadata: dict[str, str]) -> dict[str, str]:
        """Without what was true of the checkpoint alone, where the weights are others now."""
        if not self.is_changed():
            return metadata
        source = metadata.get("source_sha256")
        kept = {key: value for key, value in metadata.items() if key not in _OF_THE_CHECKPOINT}
        return kept if source is None else {**kept, TRAINED_FROM: source}


def _built(kind: type[nn.Module]) -> dict[str, str]:
    """What stands in the place of a conversion; nothing for a class that no map leads to."""
    from ppls.mappings.map_index import map_called  # here, so that importing the models needs nothing of maps
    from ppls.mappings.targets import import_target

    map = map_called(kind.__name__)
    if map is None or map.architecture is None or import_target(map) is not kind:
        return {}
    documents = dict.fromkeys(("config", "numerics", "assumed", "constants", "name_table"), "{}")
    recorded = {"architecture": map.title, "map": map.name, "map_sha256": map.digest, "ppls_version": __version__}
    return {**recorded, **documents}
