"""PaddleSeg's losses, by the names that its configs call them."""

from __future__ import annotations

from torch import nn

from ppls.training.losses.binary import BCELoss, DetailAggregateLoss, FocalLoss, MultiClassFocalLoss
from ppls.training.losses.connectivity import SemanticConnectivityLoss
from ppls.training.losses.cross_entropy import (
    BootstrappedCrossEntropyLoss,
    CrossEntropyLoss,
    EdgeAttentionLoss,
    OhemCrossEntropyLoss,
    OhemEdgeAttentionLoss,
)
from ppls.training.losses.distilled import DistillCrossEntropyLoss, L1Loss, MSELoss
from ppls.training.losses.drawn import DualTaskLoss, PixelContrastCrossEntropyLoss
from ppls.training.losses.joined import KLLoss, MixedLoss
from ppls.training.losses.regions import DiceLoss, LovaszHingeLoss, LovaszSoftmaxLoss
from ppls.training.losses.special import PointCrossEntropyLoss, RelaxBoundaryLoss, RMILoss, SECrossEntropyLoss

LOSSES: dict[str, type[nn.Module]] = {
    kind.__name__: kind
    for kind in (
        BCELoss,
        BootstrappedCrossEntropyLoss,
        CrossEntropyLoss,
        DetailAggregateLoss,
        DiceLoss,
        DistillCrossEntropyLoss,
        DualTaskLoss,
        EdgeAttentionLoss,
        FocalLoss,
        KLLoss,
        L1Loss,
        LovaszHingeLoss,
        LovaszSoftmaxLoss,
        MSELoss,
        MixedLoss,
        MultiClassFocalLoss,
        OhemCrossEntropyLoss,
        OhemEdgeAttentionLoss,
        PixelContrastCrossEntropyLoss,
        PointCrossEntropyLoss,
        RMILoss,
        RelaxBoundaryLoss,
        SECrossEntropyLoss,
        SemanticConnectivityLoss,
    )
}
