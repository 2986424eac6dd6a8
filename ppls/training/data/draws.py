"""What transforms draw from: `random` and `numpy.random` of PaddleSeg's processes, as generators of their own."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass
class Draws:
    """The two generators, which PaddleSeg's transforms mix.

    Attributes:
        python: draws what PaddleSeg draws from `random`.
        numpy: what it draws from `numpy.random`.
    """

    python: random.Random
    numpy: np.random.RandomState

    @classmethod
    def seeded(cls, seed: int | None) -> Draws:
        """As after PaddleSeg's `set_seed`: both by the same number, or, of None, by chance."""
        return cls(random.Random(seed), np.random.RandomState(seed))

    @classmethod
    def of_worker(cls, base: int, number: int) -> Draws:
        """As in a process of Paddle's DataLoader, where PaddleSeg seeds numpy anew by `random` (`worker_init_fn`)."""
        python = random.Random(base + number)
        return cls(python, np.random.RandomState(python.randint(0, 100000)))

    def state_dict(self) -> dict[str, Any]:
        """What will be drawn next, as JSON has it."""
        kind, numbers, *others = self.numpy.get_state(legacy=True)
        return {"python": self.python.getstate(), "numpy": [kind, np.asarray(numbers).tolist(), *others]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Draws next what another would have. Raises `KeyError`, `TypeError` or `ValueError` where it is no state."""
        version, numbers, spare = state["python"]
        self.python.setstate((version, tuple(numbers), spare))
        self.numpy.set_state(tuple(state["numpy"]))

    def base_of_workers(self) -> int:
        """What Paddle's DataLoader draws in every epoch to seed its workers by."""
        return int(self.numpy.randint(low=0, high=sys.maxsize, dtype=np.int64))
