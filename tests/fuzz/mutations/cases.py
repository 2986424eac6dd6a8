"""A whole input changed: one of its files, mostly; else which files there are and what they are called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from tests.fuzz.case import Case
from tests.fuzz.mutations import hostile, mutate


def mutate_case(random: Random, corpus: Sequence[Case]) -> Case:
    """One of the corpus, damaged."""
    case = random.choice(corpus)
    if random.random() < 0.06:
        case = _other_files(random, case)
    changeable = [name for name in case.files if name not in case.fixed]
    if not changeable:
        return case
    name = case.given if case.given in changeable and random.random() < 0.7 else random.choice(changeable)
    other = random.choice(corpus)
    content = mutate(random, case.files[name], list(other.files.values()))
    return replace(case, files={**case.files, name: content})


def _other_files(random: Random, case: Case) -> Case:
    files = dict(case.files)
    changeable = [name for name in files if name not in case.fixed]
    name = random.choice(changeable)
    change = random.randrange(5)
    if change == 0 and len(files) > 1 and name != case.given:
        del files[name]
    elif change == 1:
        files[_file_name(random, name)] = files[name]
    elif change == 2 and name == case.given:
        given = _file_name(random, name)
        return replace(
            case, files={(given if old == name else old): content for old, content in files.items()}, given=given
        )
    elif change == 3 and not case.given:
        return replace(case, given=name)
    elif change == 4:
        link = f"link{random.randrange(9)}" if name == case.given else name
        files.pop(link, None)
        return replace(case, files=files, links={link: random.choice((link, ".", "..", name, "/dev/null", "gone"))})
    return replace(case, files=files)


def _file_name(random: Random, name: str) -> str:
    """Another name with the same suffix, mostly: anything but `/` and NUL may stand in one."""
    stem, dot, suffix = name.partition(".")
    text = hostile.text(random, stem).replace("/", "_").replace("\0", "")
    raw = (text[:60].encode("utf-8", "replace") or b"x") if random.random() < 0.8 else b"\xff\x1b[31m" + stem.encode()
    return raw.decode("utf-8", "surrogateescape").strip(".") + dot + suffix if raw.strip(b".") else f"y{dot}{suffix}"
