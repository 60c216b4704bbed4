"""The weights of the study are those that the recorded search chose."""

import pytest

from steppe.evaluate.grid import read_rows
from steppe.studies.flatness import design, search
from steppe.studies.flatness.scales import CHOSEN, SMALL, WEIGHTS


def test_the_record_is_that_of_the_search_and_chooses_what_stands_in_the_scales():
    rows = read_rows(search.RECORDS) if search.RECORDS.exists() else []
    wanted = [(c["optimizer"], c["arm"], c["weight"], c["meta_seed"]) for c in design.search(SMALL)]
    done = [
        (c["optimizer"], c["arm"], c["weight"], c["meta_seed"])
        for c in (row.cell for row in rows if row.result is not None)
    ]
    if len(done) < len(wanted):
        pytest.skip(f"{len(done)} of {len(wanted)} cells of the search are done")
    assert sorted(done) == sorted(wanted)
    weights, flat = search.chosen(rows)
    assert flat == CHOSEN
    assert weights == {arm: WEIGHTS[arm] for arm in weights}
