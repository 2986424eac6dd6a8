"""A PaddleSeg run by the Hugging Face Trainer: ppls has the model, the losses, the data, Paddle's optimizer and rate.

    pip install 'ppls[train]' transformers
    python examples/hugging_face_trainer.py run.yml [output/iter_400]      # from scratch, or from a checkpoint

`ppls train run.yml` does the same without transformers; this is for those who have a loop of their own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import IterableDataset
from transformers import Trainer, TrainingArguments

import ppls
from ppls.training.schedules.for_torch import PaddleSchedule


class Batches(IterableDataset):
    """PaddleSeg's batches of the iterations that are left, each a single item to the Trainer."""

    def __init__(self, run: ppls.Training, seed: int | None) -> None:
        self.run, self.seed = run, seed

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.run.batches(seed=self.seed):
            edges = {} if batch.edges is None else {"edges": batch.edges}
            yield {"images": batch.images, "labels": batch.labels, **edges}


class Wrapped(torch.nn.Module):
    """The model, without its `config`, which the Trainer would take for one of transformers."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> Any:
        return self.model(images)


class PaddleSegTrainer(Trainer):
    """A Trainer whose loss is the sum of those of the config's heads."""

    def __init__(self, run: ppls.Training, **options: Any) -> None:
        self.run = run
        self.losses: list[float] = []
        super().__init__(model=Wrapped(run.model), **options)

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> torch.Tensor:
        losses = self.run.losses_of(inputs["images"], inputs["labels"], inputs.get("edges"), forward=model)
        total = torch.stack(losses).sum()
        self.losses.append(total.item())
        return total


def main(config: str, resume: str | None = None, seed: int | None = 0) -> list[float]:
    """The loss of each iteration."""
    torch.manual_seed(seed or 0)
    run = ppls.Training(config, resume=resume)
    arguments = TrainingArguments(
        "trained",
        max_steps=run.iterations - run.iteration,
        per_device_train_batch_size=1,  # of items, which are whole batches
        max_grad_norm=0.0,  # PaddleSeg clips where the config says so, and the optimizer does
        remove_unused_columns=False,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
    )
    trainer = PaddleSegTrainer(
        run,
        args=arguments,
        train_dataset=Batches(run, seed),
        data_collator=lambda items: items[0],
        optimizers=(run.optimizer, PaddleSchedule(run.optimizer, run.schedule)),
    )
    trainer.train()
    run.model.save_pretrained("trained")  # `ppls.load("trained")`
    return trainer.losses


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
