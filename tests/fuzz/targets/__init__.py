"""Every entry point that takes a file, or a text, of somebody else's."""

from __future__ import annotations

from tests.fuzz.runner import Target
from tests.fuzz.targets import checkpoints, commands, documents, dumps, models, pictures

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (checkpoints, commands, documents, dumps, models, pictures)
    for target in module.TARGETS
}
