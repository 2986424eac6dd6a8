"""Dropout."""

from __future__ import annotations

from torch import nn

from ppls.programs.attributes import Attributes
from ppls.programs.layers import Dropout
from ppls.programs.operators.normalisation import in_inference
from ppls.programs.registry import layer


@layer(pir="dropout", pdmodel="dropout", takes="X Seed P", constants={"P": "p"})
def dropout(attributes: Attributes) -> nn.Module:
    """Two kinds: one scales what it keeps in training, the other all in inference, which is the operator's default."""
    in_inference(attributes)
    mode = "dropout_implementation" if "dropout_implementation" in attributes else "mode"
    scaled = attributes.choice(mode, "downgrade_in_infer", "upscale_in_train") == "upscale_in_train"
    rate = attributes.number("dropout_prob", 0.5) if "dropout_prob" in attributes else attributes.number("p", 0.5)
    return Dropout(rate, scaled_in_training=scaled)
