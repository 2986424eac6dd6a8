"""How many classes a config's data set has: apart from its files, which need OpenCV to be read."""

from __future__ import annotations

from ppls.schema import Node

_CLASSES = {
    "Cityscapes": 19, "PascalVOC": 21, "ADE20K": 150, "CocoStuff": 171, "PascalContext": 60, "PSSLDataset": 1001,
    **dict.fromkeys(
        ("OpticDiscSeg", "MiniDeepGlobeRoadExtraction", "PPHumanSeg14K", "STARE", "DRIVE", "HRF", "CHASEDB1", "EG1800",
         "SUPERVISELY"), 2),
}  # fmt: skip


def classes_of(document: Node) -> int | None:
    """The classes of `train_dataset`, by its class where it does not say them; None where nothing does."""
    section = document.value.get("train_dataset")
    table = section.value if section is not None and isinstance(section.value, dict) else {}
    said = table["num_classes"].value if "num_classes" in table else None
    kind = table["type"].value if "type" in table else None
    return said if type(said) is int else _CLASSES.get(kind) if isinstance(kind, str) else None
