"""Which images are in which batch: the order of Paddle's DistributedBatchSampler."""

from __future__ import annotations

from math import ceil

import numpy as np


def batches_of(epoch: int, count: int, size: int, processes: int = 1, rank: int = 0) -> list[list[int]]:
    """The batches of an epoch for one of several processes, shuffled, without those that are not full.

    The order depends on the number of the epoch alone, which after a resume is 0 again.

    Args:
        epoch: from 0.
        count: images there are.
        size: images in a batch of one process.
        processes: how many there are.
        rank: which of them, from 0.
    """
    each = ceil(count / processes)
    order = (list(range(count)) * (ceil(each * processes / count) if count else 0))[: each * processes]
    np.random.RandomState(epoch).shuffle(order)
    if processes > 1:
        whole = len(order) - len(order) % (size * processes)
        order = [
            index for start in range(rank * size, whole, size * processes) for index in order[start : start + size]
        ]
    return [order[start : start + size] for start in range(0, len(order) - size + 1, size)]
