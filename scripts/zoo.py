"""Writes docs/zoo.md: every recipe of every architecture that ppls has a map of, built by PaddleSeg and verified.

python scripts/zoo.py                                    measure all (needs paddlepaddle and paddleseg; minutes)
python scripts/zoo.py SegFormer                          measure one, keep the rows of the others
python scripts/zoo.py PSANet --paddleseg ../PSANet_paddle    one that another checkout of paddleseg has
python scripts/zoo.py --check                            exit status 1 if a recipe has no row
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import ppls  # noqa: E402
from ppls.mappings.map_file import architectures  # noqa: E402
from ppls.mappings.maps import Map  # noqa: E402
from ppls.parity.embedded import build_embedded_default  # noqa: E402
from ppls.parity.process import ReferenceProcess  # noqa: E402

PAGE = ROOT / "docs" / "zoo.md"
PUBLISHED = {  # weight files that PaddleSeg's pages link to
    "PP-LiteSeg-T": 4,
    "PP-LiteSeg-B": 4,
    "PSPNet-R50": 2,
    "PSPNet-R101": 2,
    "DeepLabV3P-R50": 3,
    "DeepLabV3P-R101": 3,
    "STDCSeg-STDC1": 2,
    "STDCSeg-STDC2": 2,
    **{f"SegFormer-B{size}": 1 for size in range(6)},
}
SIZE = (128, 256)
TIMEOUT = 1800.0  # seconds
HEAD = """\
# The models that ppls has

`scripts/zoo.py` writes this page. For each recipe PaddleSeg built the model, with random weights scaled and calibrated
so that every layer matters, ppls converted it, and both ran on a photograph and on noise of {height}x{width} pixels.
The figures are the largest scaled errors, `max|a - b| / max|a|`, of all outputs and of all layers; the floor is
PaddleSeg's own float32 against its float64. In float64 Paddle's resizes are recomputed, since it takes their ratio in
float32: [Parity](parity.md#double-precision).

"Published" counts the weight files that PaddleSeg's pages link to, which by their release's code have these tensors;
the files themselves were not at hand. That of DeepLabV3P-R101 for crops of 769x769 aligns corners, which no tensor
shows: convert it with `--config`. PSANet is of another repository, to be named with `--paddleseg`.

| architecture | recipe | backbone | tensors | parameters | float32 | floor | layers | float64 | published |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("only", nargs="*", help="architectures to measure")
    parser.add_argument("--paddleseg", help="a checkout whose package paddleseg has them")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    rows = _known_rows()
    for name, map in architectures().items():
        for recipe in map.recipes:
            if not arguments.check and (name in arguments.only or not arguments.only):
                print(recipe, file=sys.stderr, flush=True)
                rows[recipe] = _measure(map, recipe, arguments.paddleseg)
    missing = [recipe for map in architectures().values() for recipe in map.recipes if recipe not in rows]
    if not arguments.check:
        ordered = [rows[recipe] for map in architectures().values() for recipe in map.recipes if recipe in rows]
        published = sum(PUBLISHED.values())
        PAGE.write_text(
            HEAD.format(height=SIZE[0], width=SIZE[1])
            + "".join(f"{row}\n" for row in ordered)
            + f"\nIn all {len(architectures())} architectures, {len(ordered)} recipes, {published} published files.\n"
        )
    for recipe in missing:
        print(f"no row for {recipe}", file=sys.stderr)
    return 1 if missing else 0


def _known_rows() -> dict[str, str]:
    lines = PAGE.read_text().splitlines() if PAGE.exists() else []
    cells = {line: [cell.strip() for cell in line.split("|")] for line in lines if line.startswith("| ")}
    return {row[2]: line for line, row in cells.items() if row[1] in architectures()}


def _measure(map: Map, recipe: str, paddleseg: str | None) -> str:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ReferenceProcess(folder, paddleseg=paddleseg) as process:
            checkpoint = build_embedded_default(process, folder, architecture=map.title, recipe=recipe, timeout=TIMEOUT)
        conversion = ppls.convert(checkpoint)
        single = ppls.verify(checkpoint, sizes=[SIZE], paddleseg=paddleseg, timeout=TIMEOUT)
        double = ppls.verify(checkpoint, sizes=[SIZE], paddleseg=paddleseg, timeout=TIMEOUT, float64=True, layers=False)
    for report in (single, double):
        if not report.passed:
            raise SystemExit(f"{recipe}: {report.verdict}: {report.failures} {report.first_divergence}")
    backbone = map.recipes[recipe]["backbone"]
    parameters = sum(
        math.prod(tensor.shape)
        for tensor_name, tensor in conversion.tensors.items()
        if not tensor_name.endswith(("running_mean", "running_var"))
    )
    cells = [
        map.title,
        recipe,
        backbone if isinstance(backbone, str) else backbone["type"],
        str(len(conversion.checkpoint)),
        f"{parameters / 1e6:.2f} M",
        worst(output.comparison.scaled for output in single.outputs),
        worst(output.comparison.floor or 0.0 for output in single.outputs),
        worst(layer.comparison.scaled for layer in single.layers),
        worst(output.comparison.scaled for output in double.outputs),
        str(PUBLISHED.get(recipe, 0)),
    ]
    return f"| {' | '.join(cells)} |"


def worst(figures: Iterable[float | None]) -> str:
    """The largest; None stands for what could not be compared."""
    return f"{max(math.inf if figure is None else figure for figure in figures):.1e}"


if __name__ == "__main__":
    sys.exit(main())
