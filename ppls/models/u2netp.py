"""U^2-Net's small version (Qin et al. 2020, https://arxiv.org/abs/2005.09007), as in PaddleSeg's `models/u2net.py`."""

from __future__ import annotations

from ppls.models.u2net import U2Net


class U2Netp(U2Net):
    """U^2-Net with every stage 16 channels wide, and 64 between them. Its options are those of `U2Net`."""

    _down = ((16, 64),) * 6
    _up = ((16, 64),) * 5
