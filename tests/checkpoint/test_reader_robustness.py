"""Whatever the bytes are, reading ends as a value or as a `ppls.Error`: truncations, mutations, made-up pickles."""

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppls.errors import Error
from tests.checkpoint.pickles import array, binary, dictionary, dtype, function, text, whole
from tests.fuzz import samples
from tests.fuzz.case import Case
from tests.fuzz.mutations import mutate
from tests.fuzz.targets.checkpoints import read_all

CORPUS = samples.weights()
needs_samples = pytest.mark.skipif(not CORPUS, reason="the sample files are not here")
SMALL = [case for case in CORPUS if len(case.files[case.given]) <= 2600]

# Pieces from which Paddle's pickles are made, and some that no pickler would write
FRAGMENTS = [
    *(
        bytes([code])
        for code in b"(.NKJMGhjqrRbcu}]est)tXUTCB\x80\x81\x85\x86\x87\x88\x89\x8a\x8c\x8e\x8f\x90\x93\x94\x95"
    ),
    array(),
    dtype(),
    dictionary(w=array()),
    text("w"),
    text("StructuredToParameterName@@"),
    text("UnpackBigParamInfor@@"),
    binary(b"\0" * 8),
    function("numpy.core.multiarray", "_reconstruct"),
    function("numpy.core.multiarray", "scalar"),
    function("builtins", "eval"),
    function("builtins", "tuple"),
    function("collections", "OrderedDict"),
    function("posix", "system"),
    b"h\x00",
    b"q\x00",
    b"K\x02",
    b"K\x02\x85",
    b"\x8e" + b"\xff" * 8,
]
thorough = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def outcome(path: Path) -> str:
    """`read`, or the class of the refusal; any other exception is a fault."""
    try:
        list(read_all(path))
    except Error as error:
        return type(error).__name__ if str(error).strip() else "without a message"
    return "read"


def outcomes_of_cuts(case: Case, folder: Path) -> set[str]:
    path = case.lay_out(folder)
    outcomes = set()
    for end in range(len(case.files[case.given])):
        path.write_bytes(case.files[case.given][:end])
        outcomes.add(outcome(path))
    return outcomes


@needs_samples
@pytest.mark.parametrize("case", SMALL[::9], ids=lambda case: case.given)
def test_a_sample_cut_at_any_byte_is_refused_or_read(tmp_path: Path, case: Case) -> None:
    assert outcomes_of_cuts(case, tmp_path) <= {"CheckpointError", "read"}


@needs_samples
@pytest.mark.parametrize(
    "name", ["sd_p2.pdparams", "sd_p3.pdparams", "sd_p4.pdparams", "sd.safetensors", "dy.pdparams"]
)
def test_a_state_dict_cut_at_any_byte_is_never_taken_for_a_whole_one(tmp_path: Path, name: str) -> None:
    case = next(case for case in CORPUS if case.given == name)
    assert outcomes_of_cuts(case, tmp_path) == {"CheckpointError"}


@needs_samples
@given(index=st.integers(0, 10**6), seed=st.integers(0, 2**32))
@thorough
def test_a_mutated_sample_is_refused_or_read(tmp_path_factory: pytest.TempPathFactory, index: int, seed: int) -> None:
    case = CORPUS[index % len(CORPUS)]
    folder = tmp_path_factory.mktemp("sample")
    path = case.lay_out(folder)
    path.write_bytes(mutate(random.Random(seed), case.files[case.given]))
    assert outcome(folder if len(case.files) > 1 and seed % 5 == 0 else path) in ("CheckpointError", "read")


@given(
    pieces=st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=4), max_size=40),
    protocol=st.sampled_from([2, 3, 4]),
)
@thorough
def test_a_made_up_pickle_is_refused_or_read(tmp_path: Path, pieces: list[bytes], protocol: int) -> None:
    path = tmp_path / "made.pdparams"
    path.write_bytes(whole(b"".join(pieces), protocol))
    assert outcome(path) in ("CheckpointError", "read")


@given(
    content=st.binary(max_size=200),
    head=st.sampled_from([b"", b"\0" * 4, b"\0" * 12, b"\x0a", b"{", b"\x80\x02", b"\x1f\x8b\x08"]),
)
@thorough
def test_random_bytes_are_refused_or_read(tmp_path: Path, content: bytes, head: bytes) -> None:
    path = tmp_path / "made"
    path.write_bytes(head + content)
    assert outcome(path) in ("CheckpointError", "read")
