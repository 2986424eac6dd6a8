"""Hostile files: refused with a reason, without running, importing or opening anything, in little memory and time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ppls.checkpoint.reader import read
from ppls.errors import CheckpointError
from tests.material import SAMPLES

HOSTILE = SAMPLES / "hostile"

# Files of the corpus that hold weights after all: valid ones, a name table with an entry too many, and whatever this
# reader can look into though the one that the corpus was made for could not.
READABLE = {
    "ok_good.pdparams",
    "ok_handmade.pdparams",
    "c_table_bad.pdparams",
    "f_binary.pdparams",
    "f_gzip.pdparams",
    "f_safetensors.pdparams",
    "f_tar.pdparams",
}
# What the message must tell
REASONS = {
    "rce_plain.pdparams": r"asks to call io\.open\('.*PWNED.*'w'\).*Nothing was called",
    "rce_hidden.pdparams": r"asks to call io\.open",
    "x_eval.pdparams": r"asks to call eval\(.*PWNED_hostile",
    "x_eval2.pdparams": r"asks to call eval\('data'",
    "x_encode.pdparams": r"asks to call _codecs\.encode\(.*'idna'",
    "x_getattr.pdparams": r"builtins\.getattr",
    "x_stack_global.pdparams": r"posix\.system",
    "x_obj.pdparams": r"posix\.system",
    "x_ndarray_call.pdparams": r"asks to call numpy\.ndarray",
    "x_newobj.pdparams": "NEWOBJ",
    "a_dtype_O8.pdparams": "Python objects",
    "a_long.pdparams": "9 bytes of data",
    "s_binbytes8.pdparams": "truncated",
    "s_alias.pdparams": "many names",
    "s_surrogate.pdparams": "broken text",
    "f_html.pdparams": "web page",
    "f_lfs.pdparams": "git lfs pull",
    "f_zip.pdparams": r"PyTorch.*torch\.save",
    "f_torch_legacy.pdparams": "PyTorch",
    "f_pir.pdparams": r"program without its weights.*f_pir\.pdiparams",
    "f_proto5.pdparams": "protocol 5",
}

WATCHED = """
import json, resource, sys, time
from ppls.checkpoint.reader import read
import ppls.checkpoint.archive, ppls.checkpoint.exported  # what few files need
import ppls.errors, tempfile, zlib, pickletools
read(sys.argv[1])  # everything that reading imports is imported now
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
seen = []
temporary = tempfile.gettempdir()  # what is compressed is unpacked there
def watch(event, arguments):
    writes = event == "open" and (arguments[2] or 0) & 3 and not str(arguments[0]).startswith(temporary)
    if event in ("exec", "compile", "os.system", "subprocess.Popen", "pickle.find_class", "socket.connect") or writes:
        seen.append([event, str(arguments)[:200]])
sys.addaudithook(watch)
outcomes = {}
for file in sys.argv[2:]:
    start = time.process_time()
    try:
        for array in read(file).values():
            array.tobytes()
        outcome = "read"
    except ppls.errors.CheckpointError as error:
        outcome = str(error)
    outcomes[file] = [outcome, time.process_time() - start]
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([outcomes, seen, peak]))
"""


def hostile_files() -> list[Path]:
    files = [path for path in sorted(HOSTILE.rglob("*")) if path.is_file() and path.name != "_notes.json"]
    return [path for path in files if "info" not in path.parts]


def test_no_hostile_file_has_an_effect_or_costs_more_than_little(tmp_path: Path) -> None:
    files = hostile_files()
    assert len(files) > 60
    command = [sys.executable, "-c", WATCHED, str(HOSTILE / "ok_good.pdparams"), *map(str, files)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    outcomes, effects, kilobytes = json.loads(run.stdout)
    assert effects == []
    assert kilobytes < 64 << 10
    assert list(tmp_path.iterdir()) == []
    for file, (outcome, seconds) in outcomes.items():
        name = Path(file).name
        assert (outcome == "read") == (name in READABLE), f"{name}: {outcome}"
        assert seconds < 2, name


@pytest.mark.parametrize("name", REASONS)
def test_the_message_says_what_is_wrong(name: str) -> None:
    with pytest.raises(CheckpointError, match=REASONS[name]) as caught:
        read(HOSTILE / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_hostile_name_table_beside_an_export_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"m\.pdiparams\.info: asks to call io\.open"):
        read(HOSTILE / "info" / "m.pdiparams")


@pytest.mark.parametrize(
    "name",
    ["desclen_neg.pdiparams", "dtype_bad.pdiparams", "nlod_huge.pdiparams", "trailing.pdiparams", "version1.pdiparams"],
)
def test_a_damaged_weights_file_with_a_sound_program_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "m.json").symlink_to(SAMPLES / "v331_jit" / "jit" / "m.json")
    (tmp_path / "m.pdiparams").symlink_to(HOSTILE / "export" / name)
    with pytest.raises(CheckpointError, match=r"m\.pdiparams"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["deep.json", "empty.json", "traversal.json"])
def test_a_damaged_program_with_sound_weights_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "m.json").symlink_to(HOSTILE / "export" / name)
    (tmp_path / "m.pdiparams").symlink_to(SAMPLES / "v331_jit" / "jit" / "m.pdiparams")
    with pytest.raises(CheckpointError, match=r"m\.json"):
        read(tmp_path)


def test_a_program_cannot_name_a_file_outside_its_folder(tmp_path: Path) -> None:
    program = (SAMPLES / "v331_jit" / "jit_sep" / "__model__.json").read_text()
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "__model__.json").write_text(program.replace('"conv2d_0.w_0"', '"../conv2d_0.w_0"'))
    (tmp_path / "conv2d_0.w_0").symlink_to(SAMPLES / "v331_jit" / "jit_sep" / "conv2d_0.w_0")
    with pytest.raises(CheckpointError, match="no name for a tensor"):
        read(tmp_path / "inside")
