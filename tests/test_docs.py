"""What the documentation shows works."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

import ppls
from ppls.mappings.map_file import architectures, load_map
from tests.material import SMALL_RUN

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *(ROOT / name for name in ("README.md", "CHANGELOG.md", "SECURITY.md"))]
ADDING = ROOT / "docs" / "adding-an-architecture.md"
WHOLE_MAPS = re.findall(r"```yaml\n(format: 2\b.*?)```", (ROOT / "docs" / "mapping-language.md").read_text(), re.S)


@pytest.mark.parametrize("number", range(len(WHOLE_MAPS)))
def test_the_maps_in_the_language_reference_load(tmp_path: Path, number: int) -> None:
    (tmp_path / "map.yaml").write_text(WHOLE_MAPS[number])
    assert load_map(tmp_path / "map.yaml").architecture in ("Toy", *architectures())


def test_the_maps_of_the_page_on_ports_load_and_give_a_state_dict(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "your-own-port.md").read_text()
    mine, encoder = re.findall(r"```yaml\n(.*?)```", page, re.S)
    (tmp_path / "my_names.yaml").write_text(mine)
    (tmp_path / "my_stdc.yaml").write_text(encoder)
    names = ppls.convert(SMALL_RUN / "model.pdparams", map=tmp_path / "my_names.yaml").tensors
    assert {"encoder.features.0.bn.running_mean", "classifiers.2.weight", "ppseg_head.cm.conv_out._conv.weight"} <= set(
        names
    )


def test_there_are_maps_in_the_language_reference() -> None:
    assert len(WHOLE_MAPS) >= 4


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_named_files_exist(page: Path) -> None:
    text = page.read_text()
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (page.parent / link).exists(), link
    for named in re.findall(r"`((?:tests|ppls|benchmarks|examples|docs|scripts)/[\w./-]+)`", text):
        assert (ROOT / named).exists(), named


def test_what_the_docs_say_stands_in_a_file_stands_there() -> None:
    said = re.findall(r"`(\w+)(?:\([^`]*\))?` in `(ppls/[\w/]+\.py)`", ADDING.read_text())
    assert len(said) > 5
    for name, file in said:
        assert re.search(rf"^(class|def) {name}\b", (ROOT / file).read_text(), re.M), f"{name} in {file}"


def test_the_sections_and_commands_of_adding_an_architecture_are_those_there_are() -> None:
    text = ADDING.read_text()
    for target in re.findall(r"\bmake ([a-z-]+)", text):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M), f"make {target}"
    language = (ROOT / "docs" / "mapping-language.md").read_text()
    for section in re.findall(r"^\d\. `(\w+)`", text, re.M):
        assert f"| `{section}` |" in language, section


def run_code(blocks: list[str], where: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs blocks of Python one after another, in one namespace, in a folder of their own."""
    monkeypatch.chdir(folder)
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks:
        exec(compile(block, where, "exec"), names)


@pytest.mark.filterwarnings("ignore:.*drawn anew")
@pytest.mark.parametrize("page", ["getting-started", "converting"])
def test_the_python_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copyfile(SMALL_RUN / "model.pdparams", tmp_path / "model.pdparams")
    ppls.convert(tmp_path / "model.pdparams", tmp_path / "model.safetensors")
    text = (ROOT / "docs" / f"{page}.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.S | re.M)
    assert blocks
    run_code(
        [re.sub(r"convert_back\((.*)\)", r"convert_back(\1, force=True)", block) for block in blocks],
        page,
        tmp_path,
        monkeypatch,
    )


@pytest.mark.filterwarnings("ignore:.*drawn anew")
@pytest.mark.parametrize("notebook", sorted((ROOT / "examples").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_runs(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "verify" in notebook.name:
        pytest.importorskip("paddleseg")
    shutil.copyfile(SMALL_RUN / "model.pdparams", tmp_path / "model.pdparams")
    cells = json.loads(notebook.read_text())["cells"]
    run_code(
        ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"], notebook.name, tmp_path, monkeypatch
    )


def test_the_page_of_the_api_has_all_of_it() -> None:
    described = set(re.findall(r"^::: ppls\.([\w.]+)$", (ROOT / "docs" / "api.md").read_text(), re.M))
    assert described - {"models.SegmentationModel"} == set(ppls.__all__) - {"__version__", "models"}
