"""Canny's edges (Canny 1986), as OpenCV finds them in images of whole numbers: the same pixels, bit for bit."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._higher_order_ops.while_loop import while_loop

TG22 = 13573  # OpenCV's tangent of 22.5 degrees, in parts of 2 ** 15
AROUND = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]


def canny(image: Tensor, low: int, high: int) -> Tensor:
    """Edges of `image` (N, C, H, W), whole numbers of 0 to 255: `(N, 1, H, W)`, True on an edge.

    `cv2.Canny(image, low, high)`: what is steeper than `high` and a ridge of steepness is an edge, and so is every
    such ridge above `low` that is connected with one.
    """
    right, down = _steepest(image.int())
    steep = _length(right, down)  # (N, H, W)
    ridge = (steep > low) & _is_ridge(steep, right, down)
    grown = _grown_in_a_program if torch.compiler.is_compiling() else _grown
    return grown(ridge & (steep > high), ridge).unsqueeze(1)


@torch.jit.script_if_tracing  # type: ignore[untyped-decorator]
def _grown(edges: Tensor, ridge: Tensor) -> Tensor:
    """The edges and all of the ridge that is connected with them, at corners too: in rounds, as many as it takes."""
    within = ridge.float()
    before, after = torch.zeros_like(within), edges.float()
    while not torch.equal(before, after):
        before, after = after, within * F.max_pool2d(after, 3, stride=1, padding=1)
    return after > 0


def _grown_in_a_program(edges: Tensor, ridge: Tensor) -> Tensor:
    """`_grown`, for `torch.export`, which has no loop of Python."""

    def moves(before: Tensor, after: Tensor, within: Tensor) -> Tensor:
        return (before != after).any()

    def once_more(before: Tensor, after: Tensor, within: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return after.clone(), within * F.max_pool2d(after, 3, stride=1, padding=1), within.clone()

    state = (torch.zeros_like(edges, dtype=torch.float), edges.float(), ridge.float())  # all that a round needs
    _, after, _ = while_loop(moves, once_more, state)  # type: ignore[no-untyped-call]
    return after > 0


def _steepest(image: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel's differences to the right and down, those of the channel that is steepest, the first of several."""
    padded = F.pad(image.float(), (1, 1, 1, 1), mode="replicate").int()
    above, along, below = padded[..., :-2, :], padded[..., 1:-1, :], padded[..., 2:, :]
    smooth, across = above + 2 * along + below, below - above
    right = smooth[..., 2:] - smooth[..., :-2]
    down = across[..., :-2] + 2 * across[..., 1:-1] + across[..., 2:]
    best = right[:, 0], down[:, 0]
    for channel in range(1, image.shape[1]):
        other = right[:, channel], down[:, channel]
        steeper = _length(*other) > _length(*best)
        best = torch.where(steeper, other[0], best[0]), torch.where(steeper, other[1], best[1])
    return best


def _length(right: Tensor, down: Tensor) -> Tensor:
    return right.abs() + down.abs()


def _is_ridge(steep: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Where a pixel is steeper than the two that lie beside it in the direction of its steepness."""
    height, width = steep.shape[-2:]
    padded = F.pad(steep, (1, 1, 1, 1))
    up_left, up, up_right, left, to_right, down_left, under, down_right = (
        padded[..., 1 + y : 1 + y + height, 1 + x : 1 + x + width] for y, x in AROUND
    )
    x, y = right.abs() * TG22, down.abs() * 2**15
    level, steeply = y < x, y > x + right.abs() * 2**16
    falls = (right < 0) == (down < 0)
    horizontal = level & (steep > left) & (steep >= to_right)
    vertical = steeply & (steep > up) & (steep >= under)
    falling = falls & (steep > up_left) & (steep > down_right)
    rising = ~falls & (steep > up_right) & (steep > down_left)
    return horizontal | vertical | ~(level | steeply) & (falling | rising)
