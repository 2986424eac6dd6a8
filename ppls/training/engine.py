"""The engine of a run, which is accelerate's: mixed precision, several processes, gradients of several batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ppls.errors import Error, UsageError, not_installed
from ppls.inference.devices import find_device
from ppls.shown import listed
from ppls.training.sharded import Sharded, share_state
from ppls.training.synchronised import synchronise
from ppls.training.training import Training

if TYPE_CHECKING:
    from accelerate import Accelerator

    from ppls.training.data.batches import Batch

# What a run computes in, by the words of ppls and of PaddleSeg: accelerate's.
PRECISIONS = {"float32": "no", "fp32": "no", "float16": "fp16", "fp16": "fp16", "bfloat16": "bf16"}
_SHARDED = ("FSDP", "DEEPSPEED", "MEGATRON_LM")  # what `accelerate launch` says in the environment
_HALF = (torch.float16, torch.bfloat16)
_FIRST_SCALE = 1024.0  # paddleseg/core/train.py
_GROWTH_INTERVAL = 2000  # paddle.amp.GradScaler


Model = TypeVar("Model", bound=nn.Module)


class NotFiniteError(Error):
    """A loss is NaN or infinite; nothing was updated."""


class PreciseResizes(TorchFunctionMode):
    """Within, bilinear resizes are done in float32, as by PaddleSeg's black list; torch's autocast on GPUs has none."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.interpolate and kwargs.get("mode") == "bilinear" and args[0].dtype in _HALF:
            args = (args[0].float(), *args[1:])
        return func(*args, **kwargs)


@contextmanager
def accelerated(device: str, precision: str) -> Iterator[Accelerator]:
    """accelerate's engine, alone or with the other processes of torchrun.

    Raises:
        ppls.MissingDependencyError: it is not installed.
        ppls.UsageError: there is no such device, it does not know this precision, or `accelerate launch` was told to
            share the model out among the processes.
    """
    try:
        from accelerate import Accelerator, DistributedDataParallelKwargs, GradScalerKwargs, InitProcessGroupKwargs
        from accelerate.state import AcceleratorState
    except ModuleNotFoundError as error:
        raise not_installed(error) from None
    if shards := [name for name in _SHARDED if os.environ.get(f"ACCELERATE_USE_{name}", "").lower() in ("true", "1")]:
        raise UsageError(
            f"{listed(shards)} of accelerate launch is not supported: start with torchrun, or accelerate launch "
            "--multi_gpu; with --fsdp the processes then share the model out"
        )
    kind = find_device("cuda" if device == "gpu" else device)
    if precision in ("float16", "fp16") and kind.type == "cpu":
        raise UsageError("--precision float16: scaled gradients are for GPUs; a CPU takes bfloat16")
    if kind.type == "cuda" and kind.index and "LOCAL_RANK" not in os.environ:
        torch.cuda.set_device(kind)
    # accelerate keeps one of it in a process, and refuses a second one with other options
    AcceleratorState._reset_state(reset_partial_state=True)
    handlers: list[Any] = [
        GradScalerKwargs(init_scale=_FIRST_SCALE, growth_interval=_GROWTH_INTERVAL),
        DistributedDataParallelKwargs(broadcast_buffers=False, find_unused_parameters=True),
    ]
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:  # counts of an evaluation and states are sent from the CPU
        handlers.append(InitProcessGroupKwargs(backend="cpu:gloo,cuda:nccl" if kind.type == "cuda" else "gloo"))
    made = Accelerator(mixed_precision=PRECISIONS[precision], cpu=kind.type == "cpu", kwargs_handlers=handlers)
    try:
        yield made
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
        if dist.is_initialized():
            dist.destroy_process_group()


class Engine:
    """Iterations of a run.

    Attributes:
        accelerator: accelerate's.

    Args:
        training: on the accelerator's device.
        accelerator: see `accelerated`.
        compile: `torch.compile` the model.
        channels_last: have its convolutions in that memory format.
        skip: leave batches out whose loss is not finite, in place of an error.
        share: share the model and the optimizer's state out among the processes (FSDP); the model may be on the CPU.
    """

    def __init__(
        self,
        training: Training,
        accelerator: Accelerator,
        *,
        compile: bool = False,
        channels_last: bool = False,
        skip: bool = False,
        share: bool = False,
    ) -> None:
        self.training, self.accelerator = training, accelerator
        self.channels_last, self.skip = channels_last, skip
        model: nn.Module = training.model
        if channels_last and not share:  # whose parts have no such format
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if accelerator.num_processes > 1:
            synchronise(model)
        self._shared: dict[nn.Module, Sharded] = {}
        self._wrapped: nn.Module
        if share:
            accelerator.prepare_model(model, device_placement=False, evaluation_mode=True)  # autocast alone
            parameters = dict(model.named_parameters())
            self._wrapped = self.share_out(model)
            share_state(training.optimizer, parameters, model)
            for loss, _ in training.losses:
                loss.to(accelerator.device)
        else:
            self._wrapped = accelerator.prepare_model(model)
        self._forward: Callable[[Tensor], list[Any]] = torch.compile(self._wrapped) if compile else self._wrapped

    def share_out(self, model: nn.Module) -> Sharded:
        """Shares a model out among the processes: the one that is trained, or one beside it."""
        self._shared[model] = Sharded(model, self.accelerator.device)
        return self._shared[model]

    def whole(self, model: Model) -> Model:
        """A model to evaluate or to write, put together where it is shared out; all processes must call it."""
        return cast(Model, self._shared[model].whole()) if model in self._shared else model

    def mixed(self) -> AbstractContextManager[object]:
        """What a forward pass is done within, beside autocast."""
        return PreciseResizes() if self.accelerator.mixed_precision != "no" else nullcontext()

    @property
    def scaler(self) -> Any:
        """Of gradients in float16; else None."""
        return self.accelerator.scaler

    def step(self, batches: Sequence[Batch]) -> tuple[list[float], bool]:
        """One iteration, of the mean over some batches.

        Returns:
            The loss of each head, the mean over batches and processes; and whether the model was updated.

        Raises:
            NotFiniteError: a loss is NaN or infinite. Whatever `Training.losses_of` raises.
        """
        before = [buffer.clone() for buffer in self.training.model.buffers()] if self.skip else []
        values: list[list[float]] = []
        for number, batch in enumerate(batches, 1):
            with ExitStack() as stack:
                stack.enter_context(self.mixed())
                if number < len(batches):
                    stack.enter_context(self.accelerator.no_sync(self._wrapped))
                images = batch.images
                if self.channels_last:
                    images = images.contiguous(memory_format=torch.channels_last)
                device = self.accelerator.device
                losses = self.training.losses_of(images.to(device), batch.labels, batch.edges, forward=self._outputs)
                values.append(self._mean(losses))
                if not all(abs(value) < float("inf") for value in values[-1]):
                    self._not_finite(values[-1], batches, before)
                    return values[-1], False
                self.accelerator.backward(torch.stack(losses).sum() / len(batches))
        scaler = self.scaler
        self.training.update(
            None if scaler is None else lambda: (scaler.step(self.training.optimizer), scaler.update())
        )
        return [sum(each) / len(batches) for each in zip(*values, strict=True)], True

    def _outputs(self, images: Tensor) -> list[Any]:
        """Those of the model; of logits that are NaN PaddleSeg's OHEM keeps no pixel, and is 0."""
        outputs = self._forward(images)
        sums = [tensor.detach().float().sum() for tensor in _tensors(outputs)]
        self._zero = 0 * torch.stack(sums).sum()  # or NaN
        return outputs

    def _mean(self, losses: list[Tensor]) -> list[float]:
        """Over all processes: NaN in one is NaN in all, which then do the same."""
        found = torch.stack(
            [loss.detach().float() if loss.dtype != torch.float64 else loss.detach() for loss in losses]
        )
        found += self._zero
        if self.accelerator.num_processes > 1:
            dist.all_reduce(found)
            found /= self.accelerator.num_processes
        return list(found.tolist())

    def _not_finite(self, losses: Sequence[float], batches: Sequence[Batch], before: Sequence[Tensor]) -> None:
        training = self.training
        if not self.skip:
            files = [str(file) for batch in batches for file in batch.files]
            said = ", ".join(f"{loss:g}" for loss in losses)
            raise NotFiniteError(
                f"iteration {training.iteration + 1}: the losses of the heads are {said}; nothing was updated. "
                "--on-nan go-on leaves such a batch out. It is of the images:",
                files,
            )
        if isinstance(self._wrapped, Sharded):
            self._wrapped.reset()
        with torch.no_grad():
            for buffer, kept in zip(training.model.buffers(), before, strict=True):
                buffer.copy_(kept)
        training.update(lambda: None)


def _tensors(outputs: Any) -> Iterator[Tensor]:
    """The tensors of real numbers in what a model gives."""
    if isinstance(outputs, Tensor):
        if outputs.is_floating_point():
            yield outputs
    elif isinstance(outputs, Mapping):
        for each in outputs.values():
            yield from _tensors(each)
    elif isinstance(outputs, (list, tuple)):
        for each in outputs:
            yield from _tensors(each)
