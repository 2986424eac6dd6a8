"""docs/commands.md is what the commands say of themselves."""

from scripts.commands import PAGE, page


def test_the_page_of_the_commands_is_as_they_are() -> None:
    assert PAGE.read_text() == page(), "python scripts/commands.py writes it anew"
