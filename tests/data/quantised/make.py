"""Made what lies here, in Paddle 2.6.2: a small network, quantised after training, exported, and what it computes.

python make.py
"""

import numpy as np
import paddle
from paddle.quantization import PTQ, QuantConfig
from paddle.quantization.observers import AbsmaxObserver


class Net(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.a = paddle.nn.Conv2D(3, 8, 3, padding=1)
        self.b = paddle.nn.Conv2D(8, 6, 3, stride=2)
        self.c = paddle.nn.Linear(6, 5)

    def forward(self, x):
        x = paddle.nn.functional.relu(self.b(paddle.nn.functional.relu(self.a(x))))
        return self.c(x.mean([2, 3]))


paddle.seed(1)
model = Net()
model.eval()
how = QuantConfig(activation=None, weight=None)
observed = {"activation": AbsmaxObserver(quant_bits=8), "weight": AbsmaxObserver(quant_bits=8)}
how.add_type_config([paddle.nn.Conv2D, paddle.nn.Linear], **observed)
quantisation = PTQ(how)
observing = quantisation.quantize(model)
image = paddle.randn([2, 3, 16, 20])
observing(image)
quantised = quantisation.convert(observing)
quantised.eval()
paddle.jit.save(quantised, "inference", input_spec=[paddle.static.InputSpec([-1, 3, -1, -1], "float32")])
arrays = {"x": image, "y": quantised(image), "plain": model(image)}
np.savez("ran.npz", **{name: array.numpy() for name, array in arrays.items()})
