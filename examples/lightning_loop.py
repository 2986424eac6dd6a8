"""A PaddleSeg run in Lightning's loop: ppls has the model, the losses, the data and Paddle's optimizer and schedule.

    pip install 'ppls[train]' lightning
    python examples/lightning_loop.py run.yml [output/iter_400]      # from scratch, or going on from a checkpoint

`ppls train run.yml` does the same without Lightning; this is for those who have a loop of their own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import lightning
import torch
from torch.utils.data import DataLoader, IterableDataset

import ppls
from ppls.training.data.batches import Batch
from ppls.training.schedules.for_torch import PaddleSchedule


class Batches(IterableDataset):
    """PaddleSeg's batches of the iterations that are left."""

    def __init__(self, run: ppls.Training, seed: int | None) -> None:
        self.run, self.seed = run, seed

    def __iter__(self) -> Iterator[Batch]:
        return self.run.batches(seed=self.seed)


class Segmentation(lightning.LightningModule):
    def __init__(self, run: ppls.Training) -> None:
        super().__init__()
        self.run, self.model = run, run.model
        self.losses: list[float] = []

    def training_step(self, batch: Batch) -> torch.Tensor:
        losses = self.run.losses_of(batch.images, batch.labels, batch.edges)
        total = torch.stack(losses).sum()
        self.losses.append(total.item())
        self.log("loss", total, prog_bar=True)
        return total

    def configure_optimizers(self) -> Any:
        schedule = PaddleSchedule(self.run.optimizer, self.run.schedule)
        return {"optimizer": self.run.optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad(set_to_none=False)  # as Paddle has it


def main(config: str, resume: str | None = None, seed: int | None = 0) -> list[float]:
    """The loss of each iteration."""
    torch.manual_seed(seed or 0)
    run = ppls.Training(config, resume=resume)
    module = Segmentation(run)
    trainer = lightning.Trainer(
        max_steps=run.iterations - run.iteration,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        accelerator="cpu",
    )
    trainer.fit(module, DataLoader(Batches(run, seed), batch_size=None))
    run.model.save_pretrained("trained")  # `ppls.load("trained")`
    return module.losses


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
