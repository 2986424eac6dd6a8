"""From a file to a `Checkpoint`: opens it, sees what it is, and hands it to the format's own reader."""

from __future__ import annotations

import os
from pathlib import Path

from ppls.checkpoint import folder, mistakes, safetensors, state_dict
from ppls.checkpoint.checkpoint import Checkpoint
from ppls.checkpoint.folder import DiskFolder, Folder
from ppls.checkpoint.source import Source
from ppls.errors import CheckpointError

_HEAD = 512  # bytes that tell every format


def read(path: str | os.PathLike[str]) -> Checkpoint:
    """Opens any file that holds Paddle weights, lazily and safely, without Paddle.

    Args:
        path: a `.pdparams`, `.pdopt` or any other file written by `paddle.save`; an exported model (its `.pdiparams`,
            `.pdmodel` or `.json`); a safetensors file; a `.tar` or `.tar.gz` with one of these inside; or a folder
            with one of these inside, whatever its name.

    Returns:
        A read-only mapping of tensor name to array; nothing but its structure has been read yet.

    Raises:
        CheckpointError: the file is missing, damaged, hostile, or something else; the message says which.
    """
    path = Path(path)
    if os.path.isdir(path):
        return _read_folder(DiskFolder(path))
    around = DiskFolder(path.parent)
    if not os.path.lexists(path) and (meant := [name for name in _completions(path.name) if name in around]):
        raise CheckpointError(f"{path}: no such file; did you mean {path.with_name(meant[0])}?")
    return _read_file(Source.open(path), path.name, around)


def _read_folder(around: Folder) -> Checkpoint:
    chosen = folder.choose(around)
    if chosen is not None:
        return _read_file(around.open(chosen), chosen, around)
    from ppls.checkpoint import exported

    files = {name: around.open(name, transient=True) for name in around.names()}
    info = next((files.pop(name) for name in list(files) if name.endswith(".info")), None)
    program_name = folder.program_of(around, "__params__")
    if program_name is None:
        return exported.read_files(files, around.path)
    return exported.read_separate(files, files.pop(program_name), info, around.path)


def _read_file(source: Source, name: str, around: Folder) -> Checkpoint:
    """Reads a file by what it is, not by what it is called; `around` is where its siblings are looked for."""
    head = source.read(0, min(source.size, _HEAD))
    if mistakes.is_torch_pickle(head):
        raise mistakes.torch_pickle(source)
    if state_dict.looks_like(head):
        return state_dict.read(source)
    if safetensors.looks_like(head):
        return safetensors.read(source)
    from ppls.checkpoint import archive, program, tensor_stream  # few files need them

    if archive.is_gzip(head):
        return _read_unpacked(archive.decompress(source), name, around)
    if archive.is_tar(head):
        inside = archive.ArchiveFolder(source)
        checkpoint = _read_folder(inside)
        if checkpoint.is_export and folder.DEPLOY in inside:
            checkpoint.deploy = inside.open(folder.DEPLOY)
        return checkpoint
    if tensor_stream.looks_like(head):
        return _read_stream(source, name, around)
    if program.looks_like_pdmodel(head) or program.looks_like_pir(head):
        return _read_program(source, name, around)
    raise mistakes.explain(source, head)


def _read_unpacked(content: Source, name: str, around: Folder) -> Checkpoint:
    from ppls.checkpoint import archive

    head = content.read(0, min(content.size, _HEAD))
    if archive.is_gzip(head):
        raise content.error("compressed twice; unpack it, and give the weights inside")
    return _read_file(content, name.removesuffix(".gz"), around)


def _read_stream(source: Source, name: str, around: Folder) -> Checkpoint:
    """Binary tensors: their names are in the program, if there is one."""
    from ppls.checkpoint import exported, tensor_stream

    program_name = folder.program_of(around, name)
    info_name = folder.info_of(around, name)
    info = around.open(info_name) if info_name is not None else None
    tensors = tensor_stream.read_tensors(source)
    if program_name is not None:
        return exported.read(source, tensors, around.open(program_name), info)
    if name.endswith(".pdiparams") or name == "__params__":
        return exported.read_unnamed(source, tensors)
    # `save_vars(filename=...)` leaves any name to the user; only agreement in every type and shape counts
    for candidate in folder.programs(around):
        try:
            return exported.read(source, tensors, around.open(candidate), info)
        except CheckpointError:
            continue
    return exported.read_unnamed(source, tensors)


def _read_program(source: Source, name: str, around: Folder) -> Checkpoint:
    weights = folder.weights_of(around, name)
    if weights is None and name.startswith("__model__"):
        return _read_folder(around)
    if weights is None:
        stem = Path(name).stem
        raise source.error(f"a program without its weights; they are in {stem}.pdiparams, which should lie beside it")
    return _read_file(around.open(weights), weights, around)


def _completions(name: str) -> list[str]:
    """Paddle names a saved model by its prefix."""
    return [f"{name}{suffix}" for suffix in (".pdparams", ".pdiparams", ".safetensors", ".pdmodel", ".json")]
