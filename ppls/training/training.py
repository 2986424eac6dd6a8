"""`ppls.Training`: a PaddleSeg run in PyTorch, iteration by iteration."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn

from ppls.checkpoint.tensors import StoredTensor
from ppls.converter.run_config import load_run
from ppls.destination import check_destinations
from ppls.errors import UsageError
from ppls.inference.loading import model_class
from ppls.models.base import SegmentationModel, loaded_model
from ppls.models.float64 import to_float64
from ppls.models.lite_hrnet import LiteHRNet
from ppls.models.stored import stored_from_torch
from ppls.schema import Node
from ppls.shown import listed, shown
from ppls.training.begin import new_model
from ppls.training.folder import OURS, write_run
from ppls.training.losses.binary import BCELoss
from ppls.training.losses.joined import KLLoss, MixedLoss
from ppls.training.optimizers import AdamW, PaddleOptimizer
from ppls.training.resume import iteration_of, load_state, open_point, paddles_name
from ppls.training.run import build_losses, build_optimizer
from ppls.training.schedules import Schedule, build_schedule
from ppls.training.settings import changed
from ppls.training.sharded import stored, whole
from ppls.training.state import OptimizerState, Slots

if TYPE_CHECKING:  # reading images needs OpenCV, and the rest does not
    from ppls.training.data.batches import Batch, Batches
    from ppls.training.data.datasets import DataSet

PRECISIONS = {"float32": torch.float32, "float64": torch.float64}
Snapshot: TypeAlias = tuple[dict[str, StoredTensor], dict[str, str], OptimizerState]  # model, metadata, optimizer
# Options of PaddleSeg's models that set the rate or the decay of single parameters, and what leaves them alone.
_OF_PARAMETERS = {"relative_lr": 1, "lr_mult": 1, "norm_lr": 1, "lr_mult_list": None}


class Training:
    """A PaddleSeg run, with its losses, optimizer and schedule: from scratch, or going on as if nothing had happened.

    Attributes:
        model: ppls's model, in training mode.
        optimizer: with Paddle's order of operations.
        schedule: of the rate.
        losses: of each head, with its coefficient.
        iteration: those done.
        iterations: those of the whole run.
        document: the config, with `settings` in it.

    Args:
        config: PaddleSeg's config of the run; files of its `_base_` are merged in.
        resume: the folder that PaddleSeg saved, `iter_400`, with `model.pdparams` and `model.pdopt`; or one that
            `save`, `ppls train` or `ppls convert --optimizer` wrote. None begins from scratch: parameters are drawn
            as PaddleSeg draws them (`torch.manual_seed` repeats it), `pretrained` weights of the config filled in.
        settings: values in place of the config's, by dotted path: `{"lr_scheduler.learning_rate": 0.02}`.
        data: the folder that has the data set, in place of the config's `dataset_root`; its files are looked for at
            once. Without it they are when `batches` is called, which those with batches of their own need not.
        device: where the model is.
        precision: `float32`, or `float64`, in which Paddle's constants stay rounded to float32.

    Raises:
        ppls.CheckpointError: a file cannot be read.
        ppls.ConversionError: the checkpoint is of another model than the config's, or its `.pdopt` of another
            checkpoint or optimizer; all offenders are listed.
        ppls.InputError: a file of the data set is missing; all are listed.
        ppls.MissingDependencyError: data need OpenCV, which is not installed.
        ppls.UsageError: the config has something that ppls does not.
    """

    def __init__(
        self,
        config: str | Path,
        *,
        resume: str | Path | None = None,
        data: str | Path | None = None,
        settings: Mapping[str, Any] | None = None,
        device: str | torch.device = "cpu",
        precision: str = "float32",
    ) -> None:
        if precision not in PRECISIONS:
            raise UsageError(f"precision is {shown(repr(precision), 80)}, but it must be float32 or float64")
        document = changed(load_run(Path(config)), settings or {})
        run = _sections(document, config)
        self.document, self._config, self.iterations = document, Path(config), run["iters"]
        self._data = None if data is None else self._open_data(data)
        self.losses = build_losses(run["loss"], _ignored(run["train_dataset"]))
        self.schedule: Schedule = build_schedule(run["lr_scheduler"], run["iters"])
        model: nn.Module
        if resume is None:
            point = None
            map, model, said = new_model(document, Path(config))
        else:
            folder = Path(resume)
            point = open_point(folder, config, settings or {})
            map, said = point.map, point.warnings
            model = loaded_model(model_class(map.title), point.config, {}, point.tensors, point.metadata, str(folder))
        for warning in said:
            warnings.warn(warning, stacklevel=2)
        if not isinstance(model, SegmentationModel):
            raise UsageError(f"{resume}: holds a {map.title} alone, which has no heads to train")
        (to_float64(model) if precision == "float64" else model.float()).to(device).train()
        self.model: SegmentationModel = model
        for loss, _ in self.losses:
            loss.to(device)
        self.iteration = 0
        if point is not None:
            self.iteration = iteration_of(folder, point.state)
            self.schedule.load_state_dict(point.state.schedule)
        parameters = dict(self.model.named_parameters())
        by_paddles_name = {paddles_name(map, name): parameter for name, parameter in parameters.items()}
        self.optimizer: PaddleOptimizer = build_optimizer(run["optimizer"], by_paddles_name, self.rate)
        if isinstance(getattr(model, "backbone", None), LiteHRNet) and not isinstance(self.optimizer, AdamW):
            check_decay(run["optimizer"], config)
        self._count = "0" if point is None else point.state.count
        if point is not None:
            load_state(self.optimizer, parameters, point.state, folder)

    @property
    def rate(self) -> float:
        """The rate of the next iteration; groups multiply it."""
        return self.schedule.last_rate

    def batches(
        self, *, seed: int | None = None, workers: int = 0, processes: int = 1, rank: int = 0
    ) -> Iterator[Batch]:
        """The batches of the iterations that are left, as PaddleSeg sees them after it resumed.

        Each has `images`, `labels`, `edges`, `instances` and `files`: `step(batch.images, batch.labels, batch.edges)`.

        Args:
            seed: PaddleSeg's `--seed`; None draws by chance. Of the same seed the same batches, bit for bit.
            workers: PaddleSeg's `--num_workers`; its number changes what is drawn, as there.
            processes: that train together, each with its own batches.
            rank: which of them this one is.

        Raises:
            ppls.InputError: a file of the data set is missing, damaged, or has labels that are no class.
            ppls.MissingDependencyError: OpenCV is not installed.
            ppls.UsageError: the config has a class of data sets or transforms that ppls does not have; all are listed.
        """
        made = self.all_batches(seed=seed, workers=workers, processes=processes, rank=rank)
        return islice(made, max(self.iterations - self.iteration, 0))

    def all_batches(self, *, seed: int | None = None, workers: int = 0, processes: int = 1, rank: int = 0) -> Batches:
        """As `batches`, without an end, and with `state_dict` and `load_state_dict` of where they are."""
        self._data = self._data or self._open_data()
        from ppls.training.data.batches import Batches

        node = self.document.value.get("batch_size")
        size = None if node is None else node.value
        if type(size) is not int or size < 1:
            raise UsageError(f"{self._config}: batch_size is {shown(repr(size), 80)}, but it must be a number above 0")
        return Batches(self._data, size, seed, workers=workers, processes=processes, rank=rank)

    def step(self, images: Tensor, labels: Tensor, edges: Tensor | None = None) -> list[float]:
        """One iteration: forward, backward, update.

        Args:
            images: normalised, (N, 3, H, W).
            labels: whole numbers, (N, H, W); they stay as they are, whatever a loss does to them.
            edges: those of the labels, (N, H, W), where a loss is of them (`edge_label`).

        Returns:
            the loss of each head, times its coefficient; of a mixed loss each of its own.

        Raises:
            ppls.UsageError: the model does not have as many outputs as there are losses, edges are missing, or a label
                is no class.
        """
        losses = self.losses_of(images, labels, edges)
        torch.autograd.backward(torch.stack(losses).sum())
        self.update()
        return [loss.item() for loss in losses]

    def losses_of(
        self,
        images: Tensor,
        labels: Tensor,
        edges: Tensor | None = None,
        *,
        forward: Callable[[Tensor], list[Any]] | None = None,
    ) -> list[Tensor]:
        """The first part of `step`, for a loop of your own: what is to be summed and to flow back.

        Args:
            images, labels, edges: as for `step`.
            forward: in place of the model: one that was compiled, or wrapped for several processes.
        """
        self._check_labels(labels)
        parameter = next(self.model.parameters())
        self.model.train()
        outputs = (forward or self.model)(images.to(parameter))
        return self._losses(outputs, labels.to(parameter.device, torch.int64, copy=True), edges)

    def update(self, step: Callable[[], object] | None = None) -> None:
        """The last part of `step`: the optimizer and the schedule go on, and gradients are zero.

        Args:
            step: in place of `optimizer.step`: that of a gradient scaler.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        (step or self.optimizer.step)()
        self.optimizer.zero_grad(set_to_none=False)  # as Paddle has it: what had a gradient once stays updated
        self.schedule.step()
        self.iteration += 1

    def save(self, folder: str | Path, *, force: bool = False) -> None:
        """Writes the model, the optimizer's state and where the schedule is to a folder, to go on from.

        `ppls.Training` resumes from it; `ppls convert FOLDER iter_N --to paddle --optimizer` makes PaddleSeg's of it.

        Args:
            folder: made where it is not there.
            force: replace files of the same names there.

        Raises:
            ppls.ConversionError: a file is there already, or cannot be written.
        """
        check_destinations([Path(folder) / name for name in OURS], force=force, new_folders=True)
        write_run(Path(folder), *self.snapshot(), force=force)

    def snapshot(self, model: SegmentationModel | None = None) -> Snapshot:
        """What `save` writes. Where the model is shared out among processes, all of them must call it.

        Args:
            model: it, put together.
        """
        model = model or self.model
        slots: Slots = {}
        for name, parameter in self.model.named_parameters():  # in all processes in the same order
            for slot, tensor in self.optimizer.state.get(parameter, {}).items():
                slots.setdefault(slot, {})[name] = stored_from_torch(whole(tensor))
        state = OptimizerState(slots, self.schedule.state_dict(), self._count)
        return stored(model), model.metadata(), state

    def _open_data(self, root: str | Path | None = None) -> DataSet:
        from ppls.training.data.config import open_data

        if "train_dataset" not in self.document.value:
            raise UsageError(f"{self._config}: has no train_dataset")
        return open_data(self.document.value["train_dataset"], root)

    def _check_labels(self, labels: Tensor) -> None:
        """Refuses labels that are neither a class nor ignored, which torch ends with, on a GPU the whole process."""
        parts = [vars(part) for loss, _ in self.losses for part in loss.modules()]
        ignored: set[int] = {part["ignore_index"] for part in parts if "ignore_index" in part}
        classes = max(self.model.num_classes, 2)  # one channel tells two
        found = labels[(labels < 0) | (labels >= classes)].tolist()
        if wrong := sorted(set(found) - ignored):
            raise UsageError(
                f"labels have {listed([str(value) for value in wrong])}, but the model has classes 0 to {classes - 1}"
                f" and {listed([str(value) for value in sorted(ignored)])} is ignored"
            )

    def _losses(self, outputs: list[Any], labels: Tensor, edges: Tensor | None) -> list[Tensor]:
        """As paddleseg/core/train.py has it."""
        if len(outputs) != len(self.losses):
            raise UsageError(
                f"the model has {len(outputs)} outputs in training, but the config has {len(self.losses)} losses"
            )
        found: list[Tensor] = []
        for (loss, coef), logits in zip(self.losses, outputs, strict=True):
            if isinstance(loss, BCELoss) and loss.edge_label:
                if edges is None:
                    raise UsageError("a loss is of the edges of labels (edge_label), but step() was given none")
                found.append(coef * loss(logits, edges.to(labels)))
            elif isinstance(loss, MixedLoss):
                found += [coef * part for part in loss(logits, labels)]
            elif isinstance(loss, KLLoss):
                found.append(coef * loss(outputs[0], outputs[1].detach()))
            else:
                found.append(coef * loss(logits, labels))
        return found


def _ignored(data: Mapping[str, Any]) -> int | None:
    """The label that the training data ignore, where it is not what losses ignore anyway."""
    ignored: int | None = data.get("ignore_index", 1001 if data.get("type") == "PSSLDataset" else None)
    return ignored


def check_decay(optimizer: Mapping[str, Any], config: str | Path) -> None:
    """PaddleSeg's LiteHRNet keeps weight decay from its normalisations, unless the config makes groups."""
    if optimizer.get("weight_decay") and not optimizer.get("custom_cfg"):
        raise UsageError(
            f"{config}: PaddleSeg decays no normalisation of a LiteHRNet, and ppls decays all parameters alike; "
            "make groups with custom_cfg, in which both decay the same"
        )


def _sections(document: Node, path: str | Path) -> dict[str, Any]:
    """The parts of a config that training needs, where all of them are there."""
    run: dict[str, Any] = document.plain()
    wrong = [name for name in ("model", "loss", "optimizer", "lr_scheduler") if not isinstance(run.get(name), dict)]
    if wrong:
        raise UsageError(f"{path}: has no section {', '.join(wrong)}; is it PaddleSeg's config of the run?")
    if isinstance(run.get("iters"), bool) or not isinstance(run.get("iters"), int) or run["iters"] < 1:
        raise UsageError(f"{path}: iters is {shown(repr(run.get('iters')), 80)}, but it must be a number above zero")
    if not isinstance(run.setdefault("train_dataset", {}), dict):
        raise UsageError(f"{path}: train_dataset is no table")
    odd = [f"{key}: {value!r}" for key, value in _all_options(run["model"]) if _OF_PARAMETERS.get(key, value) != value]
    if odd:
        raise UsageError(
            f"{path}: the model has rates of its own for some parameters, which ppls has not: {listed(odd)}"
        )
    return run


def _all_options(table: Mapping[str, Any]) -> list[tuple[str, Any]]:
    inner = [pair for value in table.values() if isinstance(value, dict) for pair in _all_options(value)]
    return [*table.items(), *inner]
