"""Faults to put into a right PP-LiteSeg-T, one at a time.

Each says where the reference's first diverging layer is; the verifier must name it. `tests/parity/fault_table.py` makes
docs/faults.md from the same lists.
"""

from .behaviour import BEHAVIOUR_FAULTS
from .fault import put_into
from .operators import OPERATOR_FAULTS
from .tensors import WEIGHT_FAULTS, tensor_faults
from .training import TRAINING_FAULTS

FAULTS = [*tensor_faults(), *WEIGHT_FAULTS, *OPERATOR_FAULTS, *BEHAVIOUR_FAULTS]

__all__ = ["FAULTS", "TRAINING_FAULTS", "put_into"]
