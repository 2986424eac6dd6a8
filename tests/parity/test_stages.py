"""What the stages make of a run beside figures."""

import numpy as np
import pytest

from ppls.parity.stages.outputs import picture


@pytest.mark.parametrize(("channels", "shown"), [(1, [0, 0, 0]), (2, [0, 1, 0]), (3, [0, 1, 2]), (4, [0, 1, 2])])
def test_a_picture_has_three_colours_whatever_the_channels_of_the_input(channels, shown):
    logits = np.zeros((1, 2, 4, 6), np.float32)
    image = np.broadcast_to(np.arange(channels, dtype=np.float32)[:, None, None] / 8, (1, channels, 4, 6))
    (found,) = picture("an input", image, logits, logits)
    assert found.image.shape == (4, 6, 3)
    assert [round((value / 255 - 0.5) * 2 * 8) for value in found.image[0, 0]] == shown
