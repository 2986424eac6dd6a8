"""ppls's pickle machine against CPython's unpicklers, and faults put into it that the comparison must find."""

from typing import Any

import pytest

from ppls.checkpoint import pickle_calls, pickle_machine, plain_form, plain_opcodes
from ppls.checkpoint.pickle_values import ALLOWED, Array, Forbidden
from tests.fuzz.differential.comparison import FoundError, run

Machine, Grammar, Opcodes = pickle_machine._Machine, plain_form._Grammar, plain_opcodes.Opcodes
SEED = 0


def test_whatever_ppls_accepts_cpython_reads_alike() -> None:
    outcomes = run(SEED, 10_000)
    assert outcomes.total() == 10_000
    assert outcomes["tensors"] > 2_000
    assert outcomes["read"] > 300
    assert outcomes["plain"] > 300


# Faults: each is what the machine once did, or might be made to do


def old_memo(patch: pytest.MonkeyPatch) -> None:
    """MEMOIZE is numbered by the length of a list, in which BINPUT may leave a hole, and a slot may be stored anew."""

    def memoize(machine: Any) -> None:
        machine._memo.append(machine._stack[-1])

    def store(machine: Any, slot: int) -> None:
        if slot > len(machine._memo) + 1:
            raise machine.error("not in sequence")
        while slot >= len(machine._memo):
            machine._memo.append(None)
        machine._memo[slot] = machine._stack[-1]

    patch.setitem(pickle_machine._HANDLERS, 0x94, memoize)
    patch.setattr(Machine, "_store", store)


def values_stored_anew_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    store = Machine._store

    def sloppy(machine: Any, slot: int | None) -> None:
        if slot is None or slot >= len(machine._memo):
            store(machine, slot)

    patch.setattr(Machine, "_store", sloppy)


def frames_are_ignored(patch: pytest.MonkeyPatch) -> None:
    def frame(machine: Any) -> None:
        if int.from_bytes(machine.take(8), "little") > machine.source.size - machine.position:
            raise machine.error("truncated")

    patch.setitem(pickle_machine._HANDLERS, 0x95, frame)


def the_first_of_equal_keys_counts(patch: pytest.MonkeyPatch) -> None:
    def put(source: Any, pairs: Any, key: object, value: object) -> None:
        pairs.setdefault(pickle_calls.key_of(source, key), value)

    patch.setattr(pickle_calls, "put", put)


def a_pair_of_a_tuple_is_swapped(patch: pytest.MonkeyPatch) -> None:
    def tuple2(machine: Any) -> None:
        machine._stack.append((machine._stack.pop(), machine._stack.pop()))

    patch.setitem(pickle_machine._HANDLERS, 0x86, tuple2)


def names_of_python_2_are_known_in_every_protocol(patch: pytest.MonkeyPatch) -> None:
    def find(machine: Any, module: str, name: str) -> None:
        known = ALLOWED.get(("builtins" if module == "__builtin__" else module, name))
        machine._stack.append(known or Forbidden(name))
        machine._forbidden = machine._forbidden or ("" if known else name)

    patch.setattr(Machine, "_find", find)


def anything_may_be_evaluated(patch: pytest.MonkeyPatch) -> None:
    call = pickle_calls.call

    def sloppy(source: Any, function: Any, arguments: Any) -> object:
        if function is pickle_calls.Global.EVAL and type(arguments) is tuple:
            arguments = ("data", *arguments[1:])
        return call(source, function, arguments)

    patch.setattr(pickle_calls, "call", sloppy)


def lists_are_keys(patch: pytest.MonkeyPatch) -> None:
    key_of = pickle_calls.key_of

    def sloppy(source: Any, value: object) -> Any:
        return "list" if isinstance(value, list) else key_of(source, value)

    patch.setattr(pickle_calls, "key_of", sloppy)


def fortran_order_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Array, "fortran_order", property(lambda array: False, lambda array, value: None))


def strings_of_python_2_are_utf_8(patch: pytest.MonkeyPatch) -> None:
    push = Machine._push_text
    patch.setattr(Machine, "_push_text", lambda machine, nbytes, encoding="utf-8": push(machine, nbytes))


def a_second_protocol_counts(patch: pytest.MonkeyPatch) -> None:
    def proto(machine: Any) -> None:
        machine._protocol = machine.take(1)[0]

    patch.setattr(Machine, "_proto", proto)
    patch.setitem(pickle_machine._HANDLERS, 0x80, proto)


def tuples_reach_below_a_mark(patch: pytest.MonkeyPatch) -> None:
    def tuple1(machine: Any) -> None:
        if not machine._stack and machine._marks:
            machine._stack = machine._marks.pop()
        machine._stack.append((machine._stack.pop(),))

    patch.setitem(pickle_machine._HANDLERS, 0x85, tuple1)


def any_global_is_plain(patch: pytest.MonkeyPatch) -> None:
    known = Grammar._global
    patch.setattr(Grammar, "_global", lambda self, *allowed: known(self, *allowed, "builtins eval", "builtins tuple"))


def a_shape_needs_no_mark(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(plain_form, "_TUPLES", {1: b"\x85", 2: b"\x86", 3: b"\x87", 4: b"t"})


def any_slot_is_plain(patch: pytest.MonkeyPatch) -> None:
    number = Opcodes.number

    def sloppy(opcodes: Any, known: Any, least: int, most: int) -> int:
        return number(opcodes, known, *((0, 2**32) if known is plain_opcodes._PUTS else (least, most)))

    patch.setattr(Opcodes, "number", sloppy)


def frames_are_not_looked_at_where_the_form_is_plain(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Opcodes, "_frame_end", property(lambda opcodes: None, lambda opcodes, value: None), raising=False)


@pytest.mark.parametrize(
    "fault",
    [
        old_memo,
        values_stored_anew_are_forgotten,
        frames_are_ignored,
        the_first_of_equal_keys_counts,
        a_pair_of_a_tuple_is_swapped,
        names_of_python_2_are_known_in_every_protocol,
        anything_may_be_evaluated,
        lists_are_keys,
        fortran_order_is_ignored,
        strings_of_python_2_are_utf_8,
        a_second_protocol_counts,
        tuples_reach_below_a_mark,
        any_global_is_plain,
        any_slot_is_plain,
        a_shape_needs_no_mark,
        frames_are_not_looked_at_where_the_form_is_plain,
    ],
)
def test_a_fault_of_the_machine_is_found(monkeypatch: pytest.MonkeyPatch, fault: Any) -> None:
    fault(monkeypatch)
    with pytest.raises(FoundError) as caught:
        run(SEED, 20_000)
    assert caught.value.stream
