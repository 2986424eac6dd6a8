"""The models: plain `torch.nn.Module`s, usable on their own. A file here that defines one is found by itself."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

from ppls.models.backbone import build_backbone, register_backbone
from ppls.models.base import SegmentationModel

__all__ = ["SegmentationModel", "build_backbone", "register_backbone"]

_NEED_OTHERS = ("card", "images")  # they have no models, and need more of ppls: imported when they are used

for _module in (module for module in pkgutil.iter_modules(__path__) if module.name not in _NEED_OTHERS):
    for _name, _value in vars(importlib.import_module(f"{__name__}.{_module.name}")).items():
        if isinstance(_value, type) and issubclass(_value, SegmentationModel) and _name not in __all__:
            globals()[_name] = _value
            __all__.append(_name)

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """The classes that are found above."""
