"""Inputs from inputs: whatever a file is, it is changed where it hurts, by its structure or byte by byte."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tests.fuzz.mutations.archives import mutate_gzip, mutate_tar, mutate_zip
from tests.fuzz.mutations.pickles import mutate_pickle
from tests.fuzz.mutations.pictures import mutate_png
from tests.fuzz.mutations.protobuf import mutate_protobuf
from tests.fuzz.mutations.raw import mutate_bytes
from tests.fuzz.mutations.tensors import mutate_npy, mutate_safetensors, mutate_stream
from tests.fuzz.mutations.trees import mutate_json
from tests.fuzz.mutations.yaml_text import mutate_yaml

_BY_STRUCTURE = 0.7  # of the changes; the rest are blind


def mutate(random: Random, content: bytes, others: Sequence[bytes] = ()) -> bytes:
    """A file like this one, damaged; `others` are what pieces may be taken from."""
    if random.random() < _BY_STRUCTURE:
        try:
            return _by_structure(random, content)
        except Exception:  # the library's parsers raise what they like where a file is hostile already
            pass
    return mutate_bytes(random, content, others)


def _by_structure(random: Random, content: bytes) -> bytes:
    head = content[:16]
    if head[:4] == b"PK\3\4":
        return mutate_zip(random, content, mutate)
    if head[:2] == b"\x1f\x8b":
        return mutate_gzip(random, content, mutate)
    if content[257:262] == b"ustar":
        return mutate_tar(random, content, mutate)
    if head[:4] == b"\x89PNG":
        return mutate_png(random, content)
    if head[:6] == b"\x93NUMPY":
        return mutate_npy(random, content)
    if head[:1] == b"\x80":
        return mutate_pickle(random, content)
    if head[8:9] == b"{":
        return mutate_safetensors(random, content)
    if head[:1] in b"{[":
        return mutate_json(random, content)
    if head[:4] == b"\0\0\0\0":
        return mutate_stream(random, content)
    if head[:1] == b"\x0a" and b"\x08" in head:
        return mutate_protobuf(random, content)
    return mutate_yaml(random, content)
