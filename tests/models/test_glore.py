"""GloRe: its sums over the whole image, and the options that no published config uses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ppls.models.glore import GlobalReasoning, GraphConvolution
from tests.architectures import run_live
from tests.options import Case, build, check

CASES = {
    "nodes": Case({"gru_num_state": 24, "gru_num_node": 7}),
    "corners": Case({"align_corners": True}, {"align_corners": True}, shape=(2, 3, 65, 97)),
}


@pytest.fixture(scope="module", params=run_live(["GloRe"]))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(request.param, CASES, tmp_path_factory.mktemp("glore"))


@pytest.mark.parametrize("name", CASES)
def test_each_option_computes_what_paddleseg_computes(folder: Path, name: str) -> None:
    check(folder, name, CASES[name])


def test_what_a_node_holds_is_a_sum_over_the_pixels_so_it_grows_with_the_image() -> None:
    unit = GlobalReasoning(8, 4, 3).eval()
    seen: list[torch.Tensor] = []
    unit.gcn.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = torch.randn(1, 8, 4, 5)
    with torch.no_grad():
        unit(x)
        unit(torch.cat([x, x], dim=3))
    torch.testing.assert_close(seen[1], 2 * seen[0])


def test_as_many_nodes_as_features_are_not_taken_for_each_other() -> None:
    graph = GraphConvolution(6, 6).eval()
    x = torch.randn(1, 6, 6)
    with torch.no_grad():
        mixed = x + x @ graph.over_nodes.weight[..., 0].T + graph.over_nodes.bias
        expected = torch.relu(graph.over_state.weight[..., 0] @ mixed)
        torch.testing.assert_close(graph(x), expected)
