"""A model that is shared out among processes (FSDP): each holds a part of every parameter, gradient and slot."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn

if TYPE_CHECKING:
    from ppls.checkpoint.tensors import StoredTensor


class Sharded(nn.Module):
    """A model of which every process holds about an equal part of each parameter, split along its first axis.

    A call gathers the parameters block by block, and lets go of them again; so does the backward pass, after which each
    process has its part of the gradients' mean. Buffers are whole in all of them.

    This is torch's `fully_shard`, and not accelerate's plugin for it: that one would leave what a resumed optimizer
    keeps with the parameters of before, and casts weights in mixed precision where a run elsewhere has autocast.

    Attributes:
        model: the one that was given, whose parameters are parts (`DTensor`) now.

    Args:
        model: the first process's weights and buffers become those of all. It may be on the CPU, so that no device
            ever has the whole of it.
        device: where the parts are.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        super().__init__()
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        for tensor in chain(model.parameters(), model.buffers()):
            dist.broadcast(tensor.data, 0)
        empty = {id(each): _parameter(each.to("meta")) for each in model.parameters()}
        # without parameters, and with the model's own buffers; in a tuple, so that it is no part of this module
        self._like = (copy.deepcopy(model, empty | {id(buffer): buffer for buffer in model.buffers()}),)
        self.model = model
        mesh = init_device_mesh(device.type, (dist.get_world_size(),))
        for block in _blocks(model):
            fully_shard(block, mesh=mesh, reshard_after_forward=True)
        fully_shard(self, mesh=mesh, reshard_after_forward=True)  # what is in no block

    def forward(self, images: Tensor) -> list[Tensor]:
        """What the model gives."""
        outputs: list[Tensor] = self.model(images)
        return outputs

    def reset(self) -> None:
        """Has the next call begin an iteration, where none of this one's flowed back."""
        self.reset_iter_state()  # type: ignore[operator]  # torch's, which `fully_shard` gave this class

    def whole(self) -> nn.Module:
        """The model with all of its parameters, to evaluate or to write, in each process; all of them must call it."""
        (like,) = self._like
        pairs = zip(like.parameters(), self.model.parameters(), strict=True)
        known: dict[int, Tensor] = {id(empty): _parameter(whole(part.detach())) for empty, part in pairs}
        return copy.deepcopy(like, known | {id(buffer): buffer for buffer in like.buffers()}).train(self.model.training)


def share_state(optimizer: torch.optim.Optimizer, before: Mapping[str, nn.Parameter], after: nn.Module) -> None:
    """Has an optimizer go on with the parts of its parameters, of what it keeps of each with a part, too.

    Args:
        optimizer: of the parameters as they were, in groups or not.
        before: those, by name.
        after: the model that was shared out.
    """
    from torch.distributed.tensor import DTensor, distribute_tensor

    from ppls.training.state import POWERS  # here, so that optimizers alone need nothing of files

    now = dict(after.named_parameters())
    parts = {parameter: now[name] for name, parameter in before.items()}
    for group in optimizer.param_groups:
        group["params"] = [parts[parameter] for parameter in group["params"]]
    for parameter, part in parts.items():
        assert isinstance(part, DTensor)
        for slot, tensor in optimizer.state.pop(parameter, {}).items():
            kept = tensor
            if slot not in POWERS:  # which are one number
                kept = distribute_tensor(tensor, part.device_mesh, part.placements, src_data_rank=None)
            optimizer.state[part][slot] = kept


def whole(tensor: Tensor) -> Tensor:
    """A tensor of which each process has a part, put together in all of them; another one as it is."""
    together = getattr(tensor, "full_tensor", None)
    return tensor if together is None else together()


def stored(model: nn.Module) -> dict[str, StoredTensor]:
    """The tensors of a model as a file has them, whole; where it is shared out, all processes must call it."""
    from ppls.models.stored import stored_from_torch

    return {name: stored_from_torch(whole(tensor)) for name, tensor in model.state_dict().items()}


def own_parts(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The parts of tensors that this process has, in the same memory; of those that are not shared out, the whole."""
    return [tensor.to_local() if hasattr(tensor, "to_local") else tensor for tensor in tensors]


def _parameter(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)


def _blocks(module: nn.Module, above: int = 1) -> Iterator[nn.Module]:
    """The larger parts of a model that are called: the children of its encoder and of its heads."""
    for child in module.children():
        if isinstance(child, (nn.ModuleList, nn.ModuleDict)):  # which only hold others
            yield from _blocks(child, above)
        elif above:
            yield from _blocks(child, above - 1)
        elif any(True for _ in child.parameters()):
            yield child
