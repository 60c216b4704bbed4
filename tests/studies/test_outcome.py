"""What README says of the study is what its record says."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from steppe.evaluation.engines import cell_id
from steppe.studies.flatness import design, outcome
from steppe.studies.flatness.findings import findings
from steppe.studies.flatness.picture import ARM, METRIC, picture
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


def test_the_picture_of_readme_is_drawn_from_the_record(rows):
    """Made again from the rows, it is the same; what it colours is what the tables call better."""
    found = findings(SMALL, rows)
    text = picture(found)
    assert text == (Path(__file__).parents[2] / "docs" / "flatness.svg").read_text()
    root = ElementTree.fromstring(text)
    kinds = [dot.get("class") for dot in root.iter("{http://www.w3.org/2000/svg}circle")]
    kept = [x for x in found.generalisation if (x.ours, x.metric) == (ARM, METRIC)]
    assert kinds.count("good") == sum(line.better for line in kept) == 9  # of both other blocks 0
    assert kinds.count("bad") == 4 and kinds.count("open") == 8
    assert "<script" not in text and len(text) < 10_000
