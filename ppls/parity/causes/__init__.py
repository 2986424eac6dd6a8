"""Suspected causes: what, if it were undone, would make the first diverging layer agree.

Each is an experiment, not a guess from the figure: something is changed, and what then comes out is held against the
reference's. Causes are data, in three lists: what is changed of a layer, of a call between layers, of an array.
"""

from ppls.parity.causes.first_divergence import cause_of
from ppls.parity.causes.training import cause_in_training

__all__ = ["cause_in_training", "cause_of"]
