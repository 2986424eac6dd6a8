"""Faults of one architecture each, by PaddleSeg's class name: what its porters get wrong."""

from . import bisenetv2, psanet, resnet_vd, segformer, stdcseg, unet
from .change import Wrong

ARCHITECTURE_FAULTS: dict[str, list[Wrong]] = {
    "BiSeNetV2": bisenetv2.FAULTS,
    "DeepLabV3P": resnet_vd.DEEPLABV3P,
    "PSANet": psanet.FAULTS,
    "PSPNet": resnet_vd.PSPNET,
    "SegFormer": segformer.FAULTS,
    "STDCSeg": stdcseg.FAULTS,
    "UNet": unet.FAULTS,
}

__all__ = ["ARCHITECTURE_FAULTS", "Wrong"]
