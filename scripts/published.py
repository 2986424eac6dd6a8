"""Writes ppls/converter/published.json: every weight file that PaddleSeg's pages link to, with what its config says.

python scripts/published.py PADDLESEG    a checkout of https://github.com/PaddlePaddle/PaddleSeg
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ppls.converter.run_config import load_run  # noqa: E402
from ppls.errors import Error  # noqa: E402

TABLE = ROOT / "ppls" / "converter" / "published.json"
_LINK = re.compile(r"\]\((https?://\S+?\.(?:pdparams|pdprams|zip))\)")

# Where the config is not called as the weights are, by what is in the address
_CONFIGS = {
    "bisenetv1_": "bisenetv1/bisenetv1_resnet18_os8_cityscapes_1024x512_160k.yml",
    "upernet_caebase_": "cae/upernet_cae_base_ade20k_512x512_160k.yml",
    "efficientformerv2_s0_ade20k/": "efficientformerv2/efficientformerv2_s0_ade20k_512x512_40k.yml",
    "maskformer_ade20k_swin_tiny": "maskformer/maskformer_swin_tiny_ade20k_512x512_160k.yml",
    "maskformer_ade20k_swin_small": "maskformer/maskformer_swin_small_ade20k_512x512_160k.yml",
    "pidnet_small_2xb6": "pidnet/pidnet_small_cityscapes_1024x1024_120k.yml",
    "pidnet_medium_2xb6": "pidnet/pidnet_medium_cityscapes_1024x1024_120k.yml",
    "pidnet_large_2xb6": "pidnet/pidnet_large_cityscapes_1024x1024_120k.yml",
    "portraitnet_mobilenetv2_eg1800": "portraitnet/portraitnet_eg1800_224x224_46k.yml",
    "portraitnet_mobilenetv2_supervisely": "portraitnet/portraitnet_supervisely_224x224_60k.yml",
    "pp_mobileseg_base/": "pp_mobileseg/pp_mobileseg_base_ade20k_512x512_80k.yml",
    "pp_mobileseg_tiny/": "pp_mobileseg/pp_mobileseg_tiny_ade20k_512x512_80k.yml",
    "stdc2_seg_voc12aug": "stdcseg/stdc2_seg_voc12aug_512x512_40k.yml",
    "stdc2_voca_pssl": "stdcseg/stdc2_seg_voc12aug_512x512_40k.yml",
    "pplite_stdc2_cityscapes_pssl": "pssl/pp_liteseg_stdc2_cityscapes_1024x512_scale1.0_160k_pssl.yml",
    "seaformer_ade20k_": "seaformer/seaformer_base_ade20k_512x512_160k.yml",
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paddleseg", type=Path)
    configs = parser.parse_args(arguments).paddleseg / "configs"
    rows: dict[str, dict[str, Any]] = {}
    for page in sorted(configs.glob("*/README.md")):
        for row in rows_of(page, configs):
            rows.setdefault(row["address"], row)  # some stand on several pages
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows.values())
    TABLE.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"{TABLE}: {len(rows)} files", file=sys.stderr)


def rows_of(page: Path, configs: Path) -> Iterator[dict[str, Any]]:
    heading = ""
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading = line.strip("# ")
        if not line.startswith("|"):
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|")) if "](" not in cell]
        for address in _LINK.findall(line):
            name = name_of(address)
            config = config_of(address, page.parent.name, configs)
            yield {
                "name": name,
                "dataset": heading,
                "row": [cell for cell in cells if cell not in ("", "-")],
                "address": address,
                "run": None if config is None else run_of(config),
            }


def name_of(address: str) -> str:
    """What the file is called here: its folder at PaddleSeg's, of an export with `_export`."""
    folder, file = address.split("/")[-2:]
    stem = file.rpartition(".")[0]
    return {"model": folder, "export_model": f"{folder}_export"}.get(stem, stem)


def config_of(address: str, folder: str, configs: Path) -> Path | None:
    own = configs / folder / f"{name_of(address)}.yml"
    if own.is_file():
        return own
    return next((configs / config for part, config in _CONFIGS.items() if part in address), None)


def run_of(config: Path) -> dict[str, Any]:
    """Of a config, with those that it is based on, what ppls reads: the model and the data set of the evaluation."""
    try:
        run = load_run(config).plain()
    except Error as error:
        raise SystemExit(f"{error}") from None
    dataset = run.get("val_dataset", {})
    said = {key: dataset[key] for key in ("type", "num_classes", "transforms") if key in dataset}
    return {"model": without_weights(run["model"]), "val_dataset": said}


def without_weights(model: Any) -> Any:
    """A model without what it was trained from, which says nothing about what it is."""
    if not isinstance(model, dict):
        return model
    return {key: without_weights(value) for key, value in model.items() if key != "pretrained"}


if __name__ == "__main__":
    main()
