"""Three witnesses of every architecture: Paddle, the hand-written model, and the module of PaddleSeg's export."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ppls.converter.expected import expected_sides
from ppls.errors import Error, ParityError
from ppls.parity.program.verify import verify_program
from tests.architectures import NOT_EXPORTED, map_of, readable, small_config
from tests.conftest import run_with_upstream
from tests.parity.conftest import build

# Exports that this does not prove, and what is said of them
NOT_RUN = {
    "ENet": "it runs 'unpool'",  # whose places Paddle does not check
    "SegNet": "it runs 'unpool'",
}
# Where rounding alone parts the softmax of strong noise from itself, which no one can judge
UNDECIDED = ("DANet",)
WRITTEN_OVER = {"ESPNetV2": 3, "KNet": 3}  # results that Paddle's loops write over, and do not give
EXPORT = """
import json, pickle, sys
import paddle
from paddleseg.models import layers
from ppls.converter.reference import upstream_model
from ppls.mappings.map_file import architectures
from ppls.parity.reference.network import build
layers.UAFM.check = lambda self, *inputs: None  # it asserts, in words that an export does not have
architecture, config, checkpoint, folder, sides = sys.argv[1], json.loads(sys.argv[2]), *sys.argv[3:5], sys.argv[5]
model = build(upstream_model(architectures()[architecture], config))
model.set_state_dict(paddle.load(checkpoint))
model.eval()
shape = [1, 3, *json.loads(sides)]
paddle.jit.save(model, folder + "/model", input_spec=[paddle.static.InputSpec(shape, "float32")])
names = {tensor.name: {"structured_name": name} for name, tensor in model.state_dict().items()}
with open(folder + "/model.pdiparams.info", "wb") as file:
    pickle.dump(names, file, 2)
"""


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [name for name in readable() if name not in NOT_EXPORTED])
def test_paddle_the_model_and_the_program_agree(architecture: str, reference, folder: Path, tmp_path: Path) -> None:
    map = map_of(architecture)
    config = small_config(map)
    try:
        checkpoint = build(reference, folder, map)
    except ParityError as error:
        if "names a checkout that has it" not in str(error):
            raise
        pytest.skip(str(error))
    sides = json.dumps(expected_sides(map, config).around(96, 160))
    run_with_upstream(EXPORT, architecture, json.dumps(config), str(checkpoint), str(tmp_path), sides)
    if architecture in NOT_RUN:
        with pytest.raises(Error, match=NOT_RUN[architecture]):
            verify_program(tmp_path)
        return
    report = verify_program(tmp_path)
    expected = "inconclusive" if architecture in UNDECIDED else "pass"
    assert report.verdict == expected, (report.failures, report.first_divergence)
    stages = {stage.name: stage for stage in report.stages}
    assert {"operators", "model"} <= stages.keys(), stages.keys()
    written_over = WRITTEN_OVER.get(architecture, 0)
    assert stages["operators"].compared == stages["operators"].expected - written_over
