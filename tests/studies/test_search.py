"""The weights of the study are those that the recorded search chose."""

from pathlib import Path

from steppe.studies.flatness import design, search
from steppe.studies.flatness.scales import CHOSEN, SMALL, WEIGHTS
from steppe.studies.study import read


def test_the_record_is_that_of_the_search_and_chooses_what_stands_in_the_scales():
    rows = read(Path(search.__file__).with_name("search.jsonl"))
    wanted = [(c["optimizer"], c["arm"], c["weight"], c["meta_seed"]) for c in design.search(SMALL)]
    done = [
        (c["optimizer"], c["arm"], c["weight"], c["meta_seed"])
        for c in (row.cell for row in rows if row.result is not None)
    ]
    assert sorted(done) == sorted(wanted)
    weights, flat = search.chosen(rows)
    assert flat == CHOSEN
    assert weights == {arm: WEIGHTS[arm] for arm in weights}
