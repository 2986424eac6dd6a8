"""What is deployed is the model of the real training run, as in the tests of inference."""

from tests.inference.conftest import converted_run, run_command, training_run

__all__ = ["converted_run", "run_command", "training_run"]
