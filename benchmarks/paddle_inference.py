"""One mode of Paddle Inference, a round for each line on stdin; needs paddlepaddle and paddleseg, and nothing of ppls.

`paddle_inference.py FOLDER CHECKPOINT MODE THREADS N C H W` exports PaddleSeg's PP-LiteSeg-T into FOLDER, then prints a
JSON line: its version first, then the seconds of each round.
"""

import json
import sys
import time

import numpy as np
import paddle
from paddle import inference
from paddleseg.models import STDC1, PPLiteSeg
from paddleseg.models.layers import tensor_fusion

folder, checkpoint, mode, threads, *shape = sys.argv[1:]
shape = [int(side) for side in shape]

# it holds nothing but assertions, which the exporter cannot trace
tensor_fusion.UAFM.check = paddle.jit.not_to_static(tensor_fusion.UAFM.check)
model = PPLiteSeg(19, STDC1(), arm_out_chs=[32, 64, 128], seg_head_inter_chs=[32, 64, 64])
model.set_state_dict(paddle.load(checkpoint))
model.eval()
paddle.jit.save(model, f"{folder}/model", input_spec=[paddle.static.InputSpec(shape, "float32")])

suffix = "json" if int(paddle.__version__.split(".")[0]) >= 3 else "pdmodel"
config = inference.Config(f"{folder}/model.{suffix}", f"{folder}/model.pdiparams")
config.disable_gpu()
config.disable_glog_info()
config.set_cpu_math_library_num_threads(int(threads))
if mode == "onednn":
    config.enable_mkldnn()
else:
    config.disable_mkldnn()
predictor = inference.create_predictor(config)
image = np.random.RandomState(0).randn(*shape).astype("float32")
print(json.dumps({"version": paddle.__version__}), flush=True)
for _ in sys.stdin:
    begin = time.perf_counter()
    predictor.get_input_handle(predictor.get_input_names()[0]).copy_from_cpu(image)
    predictor.run()
    predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()
    print(json.dumps({"seconds": time.perf_counter() - begin}), flush=True)
