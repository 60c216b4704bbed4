"""The part of a README that is from a record, between two marks."""

from pathlib import Path

BEGIN, END = "<!-- from the record -->", "<!-- until here -->"


def parts(readme: Path) -> tuple[str, str, str]:
    """What stands before the marks, between them, and after."""
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    between, _, after = rest.partition(END)
    return before, between.strip(), after


def write(readme: Path, told: str) -> None:
    """Put the text between the marks."""
    before, _, after = parts(readme)
    readme.write_text(f"{before}{BEGIN}\n{told}\n{END}{after}", encoding="utf-8")
