"""Which names the tensors of a pickle get, and what else is read from it."""

import struct
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from ppls.checkpoint.reader import read
from ppls.errors import CheckpointError
from tests.checkpoint.pickles import WEIGHT, array, binary, dictionary, dtype, function, save, text, whole


def test_the_file_order_of_the_tensors_is_kept(tmp_path: Path) -> None:
    names = ["z", "a.b", "m"]
    assert list(read(save(tmp_path / "x.pdparams", dict.fromkeys(names, WEIGHT)))) == names


def test_a_state_dict_inside_one_dictionary_keeps_its_own_names(tmp_path: Path) -> None:
    checkpoint = read(
        save(tmp_path / "x.pdparams", {"model": OrderedDict(w=WEIGHT), "epoch": 3, "lr": np.float32(0.5)})
    )
    assert list(checkpoint) == ["w"]
    assert checkpoint.metadata == {"epoch": "3", "lr": "0.5"}
    assert "under 'model'" in checkpoint.format
    assert not checkpoint.parts


def test_tensors_of_several_dictionaries_get_dotted_names(tmp_path: Path) -> None:
    checkpoint = read(save(tmp_path / "x.pdparams", {"model": {"w": WEIGHT}, "ema": {"w": WEIGHT + 1}}))
    assert list(checkpoint) == ["model.w", "ema.w"]
    assert set(checkpoint.parts) == {"model", "ema"}
    assert checkpoint.part("ema")["w"][0, 0] == 1.0
    assert read(save(tmp_path / "x.pdparams", {"w": WEIGHT, "more": {"w": WEIGHT}})).parts == {}


def test_two_tensors_that_would_get_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"two tensors are named 'a\.b'"):
        read(save(tmp_path / "x.pdparams", {"a": {"b": WEIGHT}, "a.b": WEIGHT}))


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pdparams").write_bytes(whole(b"}(" + 2 * (text("w") + array()) + b"u"))
    with pytest.raises(CheckpointError, match="'w' stands twice"):
        read(tmp_path / "x.pdparams")


@pytest.mark.parametrize("key", [1, None, b"w", ("a", "b"), 1.5])
def test_a_tensor_under_a_key_that_is_no_name_is_refused(tmp_path: Path, key: object) -> None:
    with pytest.raises(CheckpointError, match=r"not a name|where a name belongs"):
        read(save(tmp_path / "x.pdparams", {key: WEIGHT, "w": WEIGHT}))


def test_metadata_under_other_keys_does_no_harm(tmp_path: Path) -> None:
    checkpoint = read(save(tmp_path / "x.pdparams", {"w": WEIGHT, "classes": {0: "road", 1: "sidewalk"}, "on": {1, 2}}))
    assert list(checkpoint) == ["w"]


@pytest.mark.parametrize("name", ["", "__metadata__", "a\nb", "../../x", "/etc/x", "\ud800", "x" * 5000, "a\\b"])
def test_a_name_that_no_tensor_should_have_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.pdparams").write_bytes(whole(b"}(" + text("w") + array() + text(name) + array() + b"u"))
    with pytest.raises(CheckpointError):
        read(tmp_path / "x.pdparams")


def test_a_list_of_tensors_is_numbered_where_it_has_no_names(tmp_path: Path) -> None:
    checkpoint = read(
        save(tmp_path / "x.pdparams", [WEIGHT, ("linear_0.w_0", WEIGHT), ("same", WEIGHT), ("same", WEIGHT)])
    )
    assert list(checkpoint) == ["0", "linear_0.w_0", "2", "3"]
    assert checkpoint.naming == "numbers"


def test_keys_that_are_numbers_are_names_like_others(tmp_path: Path) -> None:
    checkpoint = read(save(tmp_path / "x.pdparams", {"0": ("linear_0.w_0", WEIGHT), "1": ("linear_0.b_0", WEIGHT)}))
    assert list(checkpoint) == ["0", "1"]
    assert checkpoint.naming == "structured"
    assert checkpoint.name_table == {"0": "linear_0.w_0", "1": "linear_0.b_0"}


def test_a_number_beside_a_state_dict_does_not_hide_it(tmp_path: Path) -> None:
    checkpoint = read(save(tmp_path / "x.pdparams", {"model": {"w": WEIGHT}, "epoch": np.array(3)}))
    assert list(checkpoint) == ["model.w", "epoch"]
    assert list(checkpoint.part("model")) == ["w"]
    assert read(save(tmp_path / "x.pdparams", {"more": {"w": WEIGHT}, "v": WEIGHT})).parts == {}


def test_parameters_saved_together_with_accumulators_are_no_optimizer_state(tmp_path: Path) -> None:
    names = ["conv2d_0.w_0", "conv2d_0.w_0_moment1_0", "conv2d_0.w_0_moment2_0", "conv2d_0.w_0_beta1_pow_acc_0"]
    both = read(save(tmp_path / "x.pdparams", dict.fromkeys(names, WEIGHT)))
    assert "static-graph parameters" in both.format
    assert "optimizer state" in read(save(tmp_path / "x.pdparams", dict.fromkeys(names[1:], WEIGHT))).format
    assert "optimizer state" in read(save(tmp_path / "x.pdopt", {"w": WEIGHT})).format


def test_metadata_cannot_write_control_characters_to_the_terminal(tmp_path: Path) -> None:
    checkpoint = read(save(tmp_path / "x.pdparams", {"w": WEIGHT, "note\x1b": "\x1b[2J", "epoch": 1}))
    assert checkpoint.metadata == {"'note\\x1b'": "'\\x1b[2J'", "epoch": "1"}


def test_the_variable_names_that_come_with_the_values_make_the_name_table(tmp_path: Path) -> None:
    checkpoint = read(save(tmp_path / "x.pdparams", {"conv.weight": ("conv2d_0.w_0", WEIGHT), "epoch": 1}))
    assert checkpoint.name_table == {"conv.weight": "conv2d_0.w_0"}
    assert checkpoint.naming == "structured"


def test_static_graph_parameters_have_variable_names(tmp_path: Path) -> None:
    checkpoint = read(save(tmp_path / "x.pdparams", {"conv2d_0.w_0": WEIGHT, "batch_norm_1.b_0": WEIGHT}))
    assert checkpoint.naming == "variables"
    assert "static-graph" in checkpoint.format


@pytest.mark.parametrize("layout", ["C", "F"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_arrays_of_every_layout_come_out_equal_native_and_read_only(
    tmp_path: Path, layout: str, order: str, protocol: int
) -> None:
    saved = np.asarray(np.arange(24).reshape(2, 3, 4), order=layout).astype(f"{order}i4")
    checkpoint = read(
        save(tmp_path / "x.pdparams", {"w": saved, "scalar": np.array(3.0), "none": np.zeros((0, 4))}, protocol)
    )
    np.testing.assert_array_equal(checkpoint["w"], saved)
    assert checkpoint["w"].dtype.isnative
    assert not checkpoint["w"].flags.writeable
    assert checkpoint["scalar"].shape == ()
    assert checkpoint["none"].shape == (0, 4)


def test_extents_are_the_bytes_as_they_are_written_again(tmp_path: Path) -> None:
    saved = {
        "c": WEIGHT,
        "f": np.asfortranarray(WEIGHT),
        "big": WEIGHT.astype(">f4"),
        "vector": np.asfortranarray(WEIGHT[0]),
    }
    checkpoint = read(save(tmp_path / "x.pdparams", saved))
    for name in saved:
        extents = checkpoint.stored(name).extents
        assert bool(extents) == (name in ("c", "vector"))
        if extents:
            content = b"".join(extent.source.read(extent.offset, extent.nbytes) for extent in extents)
            assert content == checkpoint[name].tobytes()


def test_a_large_tensor_is_mapped_and_a_small_one_is_not(tmp_path: Path) -> None:
    import mmap

    checkpoint = read(save(tmp_path / "x.pdparams", {"large": np.arange(1 << 16), "small": np.arange(4)}))

    def owner(array: np.ndarray) -> object:
        base: object = array
        while isinstance(base, np.ndarray | memoryview):
            base = base.obj if isinstance(base, memoryview) else base.base
        return base

    assert isinstance(owner(checkpoint["large"]), mmap.mmap)
    assert isinstance(owner(checkpoint["small"]), bytes)
    np.testing.assert_array_equal(checkpoint["large"], np.arange(1 << 16))


def chunked(table: bytes, **pieces: bytes) -> bytes:
    return whole(
        b"}("
        + b"".join(text(key) + value for key, value in pieces.items())
        + text("UnpackBigParamInfor@@")
        + table
        + b"u"
    )


def chunk_entry(name: str, shape: bytes, *slices: str) -> bytes:
    listed = b"](" + b"".join(map(text, slices)) + b"e"
    return dictionary(**{name: dictionary(OriginShape=shape, slices=listed)})


FLOATS = binary(struct.pack("<2f", 1, 2))


def test_a_tensor_in_pieces_is_joined(tmp_path: Path) -> None:
    table = chunk_entry("w", b"K\x02K\x02\x86", "w@@.0", "w@@.1")
    pieces = {"w@@.0": array(payload=FLOATS), "other": array(), "w@@.1": array()}
    (tmp_path / "x.pdparams").write_bytes(chunked(table, **pieces))
    checkpoint = read(tmp_path / "x.pdparams")
    assert list(checkpoint) == ["other", "w"]
    np.testing.assert_array_equal(checkpoint["w"], [[1, 2], [0, 0]])
    assert len(checkpoint.stored("w").extents) == 2


@pytest.mark.parametrize(
    "table",
    [
        chunk_entry("w", b"K\x02K\x03\x86", "w@@.0", "w@@.1"),
        chunk_entry("w", b"K\x02K\x02\x86", "w@@.0", "w@@.0"),
        chunk_entry("w", b"K\x02K\x02\x86", "w@@.0", "w@@.2"),
        chunk_entry("w", b"K\x02\x85"),
        chunk_entry("w", b"K\x02K\x02\x86", "w@@.0", "square"),
        chunk_entry("other", b"K\x02K\x02\x86", "w@@.0", "w@@.1"),
        dictionary(w=b"K\x01"),
        dictionary(w=b"}"),
    ],
)
def test_pieces_that_do_not_fit_together_are_refused(tmp_path: Path, table: bytes) -> None:
    square = array(shape=b"K\x01K\x02\x86")
    pieces = {"w@@.0": array(), "other": array(), "w@@.1": array(), "square": square}
    (tmp_path / "x.pdparams").write_bytes(chunked(table, **pieces))
    with pytest.raises(CheckpointError, match="damaged"):
        read(tmp_path / "x.pdparams")


def test_what_python_2_wrote_as_str_is_text_and_bytes(tmp_path: Path) -> None:
    key = b"U\x06caf\xe9.w"
    two = binary(b"\0" * 8).replace(b"B", b"T", 1)
    element = dtype(code=b"U\x02f4", order=b"U\x01<").replace(b"\x89\x88\x87R", b"K\0K\x01\x87R")
    (tmp_path / "x.pdparams").write_bytes(whole(b"}" + key + array(element=element, payload=two) + b"s", protocol=2))
    assert list(read(tmp_path / "x.pdparams")) == ["café.w"]


@pytest.mark.parametrize("classes", [["road", "car"], ["a", "b"], [b"a", b"bc"], "a", ["\u0416"]])
def test_an_array_of_text_is_left_out_and_said(tmp_path: Path, classes: list[str] | list[bytes] | str) -> None:
    checkpoint = read(save(tmp_path / "x.pdparams", {"w": WEIGHT, "classes": np.array(classes)}))
    assert list(checkpoint) == ["w"]
    assert any("'classes' was left out" in warning for warning in checkpoint.warnings)


def test_an_int8_tensor_may_have_been_float8_unless_python_2_wrote_it(tmp_path: Path) -> None:
    assert "float8" in read(save(tmp_path / "x.pdparams", {"q": np.zeros(3, np.int8)})).warnings[0]


@pytest.mark.parametrize("value", [{}, [], {"epoch": 3}, 5, None, "text", {"a": {}}, (1, 2)])
def test_a_pickle_without_tensors_is_an_error_that_says_so(tmp_path: Path, value: object) -> None:
    with pytest.raises(CheckpointError, match="holds no tensors"):
        read(save(tmp_path / "x.pdparams", value))


def test_python_objects_are_never_weights(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="Python objects"):
        read(save(tmp_path / "x.pdparams", {"w": WEIGHT, "o": np.array([{}, []], dtype=object)}))
    with pytest.raises(CheckpointError, match="not a tensor's"):
        read(save(tmp_path / "x.pdparams", {"w": WEIGHT, "t": np.zeros(2, "M8[s]")}))


def test_nan_and_infinity_are_values_like_others(tmp_path: Path) -> None:
    saved = np.array([np.nan, np.inf, -np.inf, -0.0], np.float32)
    assert read(save(tmp_path / "x.pdparams", {"w": saved}))["w"].tobytes() == saved.tobytes()


def test_data_after_the_pickle_is_ignored_and_said(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pdparams", {"w": WEIGHT})
    path.write_bytes(path.read_bytes() + b"more")
    assert read(path).warnings == ("4 bytes after the first pickle were ignored, as Paddle does",)


def test_the_name_table_of_numpy_2_and_of_numpy_1_is_the_same(tmp_path: Path) -> None:
    new = array().replace(b"numpy.core.multiarray", b"numpy._core.multiarray")
    (tmp_path / "x.pdparams").write_bytes(whole(dictionary(w=new)))
    assert read(tmp_path / "x.pdparams")["w"].shape == (2,)


def test_an_ordered_dictionary_of_python_2_is_one(tmp_path: Path) -> None:
    items = b"](](" + text("w") + array() + b"ee"
    (tmp_path / "x.pdparams").write_bytes(whole(function("collections", "OrderedDict") + items + b"\x85R"))
    assert list(read(tmp_path / "x.pdparams")) == ["w"]
