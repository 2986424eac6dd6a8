"""What becomes a torch module: converted files, hub folders, and Paddle's own files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import ppls
from tests.fuzz import examples
from tests.fuzz.case import Case
from tests.fuzz.runner import Place, Target
from tests.fuzz.targets.documents import inert


@lru_cache
def _converted() -> Sequence[Case]:
    made = examples.model()
    return [Case({"model.safetensors": made["model.safetensors"]}, "model.safetensors")]


@lru_cache
def _hub() -> Sequence[Case]:
    made = examples.model()
    return [Case({name: made[name] for name in ("model.safetensors", "config.json")})]


def _load(place: Place, case: Case) -> Iterable[str]:
    model = ppls.load(place.given)
    assert not model.training
    return ()


def _from_hub(place: Place, case: Case) -> Iterable[str]:
    _load(place, case)
    ppls.models.PPLiteSeg.from_pretrained(place.given)
    ppls.to_hub_folder(place.given, place.out / "hub")
    yield inert((place.out / "hub" / "README.md").read_text())


TARGETS = (
    Target("load", 6, _converted, _load),
    Target("hub", 3, _hub, _from_hub),
)
