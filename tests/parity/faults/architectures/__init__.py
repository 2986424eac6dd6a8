"""Faults of one architecture each, by PaddleSeg's class name: what its porters get wrong."""

from . import bisenetv2, contexts, psanet, resnet_vd, segformer, stdcseg, unet
from .change import Wrong

ARCHITECTURE_FAULTS: dict[str, list[Wrong]] = {
    "BiSeNetV2": bisenetv2.FAULTS,
    "CCNet": contexts.CCNET,
    "DMNet": contexts.DMNET,
    "DeepLabV3P": resnet_vd.DEEPLABV3P,
    "ENCNet": contexts.CONTEXT,
    "FastFCN": contexts.CONTEXT,
    "GINet": contexts.GINET,
    "PFPNNet": contexts.PFPNNET,
    "PSANet": psanet.FAULTS,
    "PSPNet": resnet_vd.PSPNET,
    "SegFormer": segformer.FAULTS,
    "STDCSeg": stdcseg.FAULTS,
    "UNet": unet.FAULTS,
    "UPerNet": contexts.UPERNET,
}

__all__ = ["ARCHITECTURE_FAULTS", "Wrong"]
