"""What the names of two layers say: how many words they share, each in one spelling."""

from __future__ import annotations

import re
from functools import lru_cache

_SAME = {  # other words for one thing
    "q": "query",
    "k": "key",
    "v": "value",
    "kv": "key",
    "bn": "norm",
    "batchnorm": "norm",
    "ln": "norm",
    "layernorm": "norm",
    "attn": "attention",
    "atten": "attention",
    "aux": "auxiliary",
    "cls": "classifier",
    "classify": "classifier",
    "proj": "project",
    "projection": "project",
    "dense": "fc",
    "linear": "fc",
    "dw": "depthwise",
    "dwconv": "depthwise",
    "pw": "pointwise",
    "piontwise": "pointwise",
    "downsample": "down",
    "stage": "stages",
    "layer": "stages",
    "block": "blocks",
    "backbone": "encoder",
    "head": "heads",
}


@lru_cache(maxsize=8192)
def words(name: str) -> tuple[str, ...]:
    """The words of a name in order, numbers too: `block1.attn.q_proj` is blocks, 1, attention, query, project."""
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+", name)
    return tuple(_SAME.get(part.lower(), part.lower()) for part in parts)


@lru_cache(maxsize=65536)
def likeness(one: str, other: str) -> float:
    """0 where two names share no word, 1 where they have the same ones; the last words count most."""
    first, second = words(one), words(other)
    total = shared = 0.0
    for ours, theirs in ((first, second), (second, first)):
        for at, word in enumerate(reversed(ours)):
            weight = 1 / (1 + at)
            total += weight
            shared += weight * (word in theirs)
    return shared / total if total else 0.0
