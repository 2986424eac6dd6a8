"""PaddleSeg's losses, by the names that its configs call them."""

from __future__ import annotations

from torch import nn

from ppls.training.losses.binary import BCELoss, DetailAggregateLoss, FocalLoss, MultiClassFocalLoss
from ppls.training.losses.cross_entropy import (
    BootstrappedCrossEntropyLoss,
    CrossEntropyLoss,
    EdgeAttentionLoss,
    OhemCrossEntropyLoss,
    OhemEdgeAttentionLoss,
)
from ppls.training.losses.joined import KLLoss, MixedLoss
from ppls.training.losses.regions import DiceLoss, LovaszHingeLoss, LovaszSoftmaxLoss

LOSSES: dict[str, type[nn.Module]] = {
    kind.__name__: kind
    for kind in (
        BCELoss,
        BootstrappedCrossEntropyLoss,
        CrossEntropyLoss,
        DetailAggregateLoss,
        DiceLoss,
        EdgeAttentionLoss,
        FocalLoss,
        KLLoss,
        LovaszHingeLoss,
        LovaszSoftmaxLoss,
        MixedLoss,
        MultiClassFocalLoss,
        OhemCrossEntropyLoss,
        OhemEdgeAttentionLoss,
    )
}
