"""Importing what a user names: whatever the module does, one error of ours."""

from pathlib import Path

import pytest

from ppls.imports import CannotImportError, import_named


def test_a_name_may_be_dotted() -> None:
    assert import_named("pathlib", "Path.cwd") == Path.cwd


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise SystemExit('no')", "SystemExit: no"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def (", "SyntaxError: invalid syntax"),
        ("raise ValueError('first\\nsecond')", "ValueError: first"),
        ("pass", "AttributeError: module 'module_for_the_test' has no attribute 'build'"),
    ],
)
def test_whatever_the_module_does_is_one_line(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "module_for_the_test.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "module_for_the_test", raising=False)
    with pytest.raises(CannotImportError) as error:
        import_named("module_for_the_test", "build")
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)
