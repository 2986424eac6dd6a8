"""The examples in which another's loop trains: iteration by iteration the losses of `ppls.Training.step`."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

import ppls
from ppls.training.schedules import build_schedule
from ppls.training.schedules.for_torch import PaddleSchedule
from tests.training.test_train import data, write  # noqa: F401 - a fixture

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_a_scheduler_of_torch_s_has_the_rates_of_the_schedule() -> None:
    config = {"type": "PolynomialDecay", "learning_rate": 0.1, "warmup_iters": 2, "warmup_start_lr": 0.01}
    ours, schedule = build_schedule(config, 8), build_schedule(config, 8)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = PaddleSchedule(optimizer, schedule)
    for _ in range(8):
        assert optimizer.param_groups[0]["lr"] == ours.last_rate
        optimizer.step()
        scheduler.step()
        ours.step()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "needs"), [("lightning_loop", "lightning"), ("hugging_face_trainer", "transformers")])
def test_another_loop_trains_to_the_same_losses(
    name: str,
    needs: str,
    data: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip(needs)
    config = write(tmp_path / "run.yml", data, iters=4)
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    losses = module.main(str(config))
    torch.manual_seed(0)
    training = ppls.Training(config)
    ours = [sum(training.step(batch.images, batch.labels, batch.edges)) for batch in training.batches(seed=0)]
    assert losses == pytest.approx(ours, rel=1e-6)
    trained, again = ppls.load(tmp_path / "trained").state_dict(), training.model.state_dict()
    assert all(torch.equal(tensor, again[key]) for key, tensor in trained.items())
