"""Makes the picture on the README's first screen: `python scripts/overview.py CHECKPOINT CONFIG IMAGE`.

What the converted model sees in an image (`ppls predict`), beside the report of its verification (`ppls verify`) as
Chromium shows it: nothing in it is drawn by hand.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

import ppls
from ppls.parity.report.page import write_page

ROOT = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT, MARGIN = 1440, 640, 16


def screenshot(page: Path, picture: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("Chromium is needed for the picture of the report")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=900,640"]
    profile = f"--user-data-dir={picture.parent / 'profile'}"
    command = [browser, *flags, profile, "--disable-background-networking", f"--screenshot={picture}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("config", type=Path, help="PaddleSeg's config of the run")
    parser.add_argument("image", type=Path)
    options = parser.parse_args()
    for name in ("checkpoint", "config", "image"):
        setattr(options, name, getattr(options, name).resolve())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copyfile(options.checkpoint, folder / "model.pdparams")
        os.chdir(folder)  # the report shows names as they were given
        ppls.convert("model.pdparams", "model.safetensors", config=options.config)
        report = ppls.verify("model.pdparams", "model.safetensors", images=[options.image], config=options.config)
        write_page(report, Path("report.html"))
        screenshot(folder / "report.html", folder / "report.png")
        ppls.predict("model.safetensors", options.image, folder)
        sheet = Image.new("RGB", (WIDTH, HEIGHT), "white")
        font = ImageFont.load_default(18)
        pen = ImageDraw.Draw(sheet)
        width = 500
        top = MARGIN
        for picture, text in (
            (options.image, "the image"),
            (folder / "added_prediction" / options.image.name, "what the converted model sees in it"),
        ):
            shown = Image.open(picture).convert("RGB")
            shown = shown.resize((width, width * shown.height // shown.width), Image.Resampling.LANCZOS)
            sheet.paste(shown, (MARGIN, top))
            pen.text((MARGIN, top + shown.height + 6), text, "black", font)
            top += shown.height + 40
        page = Image.open(folder / "report.png").convert("RGB")
        sheet.paste(page, (MARGIN + width + MARGIN, 0))
        sheet.quantize(128).save(ROOT / "docs" / "overview.png", optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
