"""What README says of the study is what its record says."""

from pathlib import Path

import pytest

from steppe.evaluation.engines import cell_id
from steppe.studies.flatness import design, outcome
from steppe.studies.flatness.scales import SMALL
from steppe.studies.study import read

FOLDER = Path(outcome.__file__).parent


@pytest.fixture(scope="module")
def rows():
    return read(FOLDER / "small.jsonl")


def test_every_cell_of_the_design_is_on_record_once(rows):
    wanted = {cell_id(cell) for cell in design.cells(SMALL)}
    assert sorted(row.id for row in rows) == sorted(wanted)
    assert sum(row.result is None for row in rows) <= 1  # one diverged; it is named in README


def test_the_tables_are_those_of_the_record(rows):
    assert outcome.tables(SMALL, rows) in (FOLDER / "README.md").read_text()
