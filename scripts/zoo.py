"""Writes docs/zoo.md: every recipe of every architecture that ppls has a map of, built by PaddleSeg and verified.

python scripts/zoo.py                                    measure what has no row yet (needs paddlepaddle and paddleseg)
python scripts/zoo.py SegFormer                          measure one anew, keep the rows of the others
python scripts/zoo.py PSANet --paddleseg ../PSANet_paddle    one that another checkout of paddleseg has
python scripts/zoo.py --all                              measure all anew; minutes
python scripts/zoo.py --check                            exit status 1 if a recipe has no row
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import ppls  # noqa: E402
from ppls.converter.given import given_by_run  # noqa: E402
from ppls.converter.published import Published  # noqa: E402
from ppls.errors import ParityError, UsageError  # noqa: E402
from ppls.mappings.map_file import architectures  # noqa: E402
from ppls.mappings.map_index import on_recipe  # noqa: E402
from ppls.mappings.maps import Map  # noqa: E402
from ppls.parity.embedded import build_embedded_default, embedded_map  # noqa: E402
from ppls.parity.process import ReferenceProcess  # noqa: E402

PAGE = ROOT / "docs" / "zoo.md"
SIZE = (128, 256)
TIMEOUT = 1800.0  # seconds
HEAD = """\
# The models that ppls has

`scripts/zoo.py` writes this page. For each recipe PaddleSeg built the model, with random weights scaled and calibrated
so that every layer matters, ppls converted it, and both ran on a photograph and on noise of {height}x{width} pixels.
The figures are the largest scaled errors, `max|a - b| / max|a|`, of all outputs and of all layers; the floor is
PaddleSeg's own float32 against its float64. In float64 Paddle's resizes are recomputed, since it takes their ratio in
float32: [Parity](verifying.md#double-precision).

"Published" counts the weight files that PaddleSeg's pages link to, which by their release's code have these tensors;
the files themselves were not at hand. What was trained with an option that no tensor shows, as that of DeepLabV3P-R101
for crops of 769x769, which aligns corners, is converted with `--config`. What PaddleSeg's own package lacks is of
another repository, to be named with `--paddleseg`; the head of its map says which.

"Proof" is a digest of the map, of the model and of all that both are made of (`scripts/evidence.py`), as they were when
the tests passed last in which PaddleSeg runs beside ppls. `make test` runs those of what has changed since and of a
sample, `make test-slow ALL=1` all.

| architecture | recipe | backbone | tensors | parameters | float32 | floor | layers | float64 | published | proof |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""
UNPROVEN = "-"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="architectures to measure anew")
    parser.add_argument("--paddleseg", help="a checkout whose package paddleseg has them")
    parser.add_argument("--all", action="store_true", help="measure all anew")
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args(arguments)
    try:
        named = {embedded_map(name).title for name in given.names}
    except UsageError as error:
        parser.error(str(error))
    rows = known_rows()
    for name, map in architectures().items():
        for recipe in map.recipes:
            asked = given.all or name in named or (not named and recipe not in rows)
            if asked and not given.check:
                print(recipe, file=sys.stderr, flush=True)
                rows |= measured(map, recipe, given.paddleseg)
                write(rows)
    wanted = [map for name, map in architectures().items() if name in named or not named]
    missing = [recipe for map in wanted for recipe in map.recipes if recipe not in rows]
    for recipe in missing:
        print(f"no row for {recipe}", file=sys.stderr)
    return 1 if missing else 0


def known_rows() -> dict[str, str]:
    """The rows of the page by recipe."""
    lines = PAGE.read_text().splitlines() if PAGE.exists() else []
    cells = {line: [cell.strip() for cell in line.split("|")] for line in lines if line.startswith("| ")}
    return {row[2]: line for line, row in cells.items() if row[1] in architectures()}


def write(rows: dict[str, str]) -> None:
    """The page, with those of the rows whose recipes there are; another recipe may have taken what was published."""
    ordered, published = [], 0
    for map in architectures().values():
        for recipe in [name for name in map.recipes if name in rows]:
            count = published_files(map, recipe)
            cells = rows[recipe].split("|")
            ordered.append("|".join([*cells[:-3], f" {count} ", *cells[-2:]]))
            published += count
    PAGE.write_text(
        HEAD.format(height=SIZE[0], width=SIZE[1])
        + "".join(f"{row}\n" for row in ordered)
        + f"\nIn all {len(architectures())} architectures, {len(ordered)} recipes, {published} published files.\n"
    )


def proof(row: str) -> str:
    """The digest in a row."""
    return row.strip("| ").split(" | ")[-1]


def proven(row: str, digest: str) -> str:
    """The row with another digest."""
    return f"{row.removesuffix(f'{proof(row)} |')}{digest} |"


def measured(map: Map, recipe: str, paddleseg: str | None) -> dict[str, str]:
    """The recipe's row; none where upstream does not have the architecture."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ReferenceProcess(folder, paddleseg=paddleseg) as process:
            try:
                checkpoint = build_embedded_default(
                    process, folder, architecture=map.title, recipe=recipe, timeout=TIMEOUT
                )
            except ParityError as error:
                if "--paddleseg PATH" not in str(error):
                    raise
                print(f"{recipe}: {error}", file=sys.stderr)
                return {}
        conversion = ppls.convert(checkpoint)
        single = ppls.verify(checkpoint, sizes=[SIZE], only=True, paddleseg=paddleseg, timeout=TIMEOUT)
        double = ppls.verify(
            checkpoint, sizes=[SIZE], only=True, paddleseg=paddleseg, timeout=TIMEOUT, float64=True, layers=False
        )
    for report in (single, double):
        if not report.passed:
            raise SystemExit(f"{recipe}: {report.verdict}: {report.failures} {report.first_divergence}")
    parameters = sum(
        math.prod(tensor.shape)
        for tensor_name, tensor in conversion.tensors.items()
        if not tensor_name.endswith(("running_mean", "running_var"))
    )
    cells = [
        map.title,
        recipe,
        backbone_of(map, recipe) or "-",
        str(len(conversion.checkpoint)),
        f"{parameters / 1e6:.2f} M",
        worst(output.comparison.scaled for output in single.outputs),
        worst(output.comparison.floor or 0.0 for output in single.outputs),
        worst(layer.comparison.scaled for layer in single.layers),
        worst(output.comparison.scaled for output in double.outputs),
        str(published_files(map, recipe)),
        UNPROVEN,
    ]
    return {recipe: f"| {' | '.join(cells)} |"}


def backbone_of(map: Map, recipe: str) -> str:
    """Upstream's name of the recipe's backbone; empty where the architecture has none of its own."""
    backbone = map.recipes[recipe].get("backbone", "")
    return str(backbone if isinstance(backbone, str) else backbone["type"])


def published_files(map: Map, recipe: str) -> int:
    """How many files PaddleSeg publishes of the recipe, of those that ppls can convert."""
    rows = [row for row in ppls.list_published() if row.architecture == map.title and row.unavailable is None]
    return sum(published_recipe(map, row) == recipe for row in rows)


def published_recipe(map: Map, row: Published) -> str:
    """The recipe of a published file: the first on its backbone whose options its config has, or the first of all."""
    on_it = [name for name in map.recipes if backbone_of(map, name) == row.backbone] or list(map.recipes)
    given = given_by_run(on_recipe(map, on_it[0]), Path(row.name), row.config)
    said = {key: value.value for key, value in given.items() if key != "num_classes"}
    return next((name for name in on_it if {**said, **map.recipes[name]}.items() >= said.items()), on_it[0])


def worst(figures: Iterable[float | None]) -> str:
    """The largest; None stands for what could not be compared."""
    return f"{max(math.inf if figure is None else figure for figure in figures):.1e}"


if __name__ == "__main__":
    sys.exit(main())
