"""The page of an adaptation, from its record alone."""

import dataclasses
import re

from evaluation.test_adaptation import RECORD

from steppe.report.adaptation import write_adaptation_page


def test_the_page_begins_with_the_verdict_and_loads_nothing(tmp_path):
    page = write_adaptation_page(
        tmp_path / "a.html", RECORD, file="a/model.safetensors", command="steppe adapt x"
    ).read_text()
    body = page[page.index("<main>") :]
    assert body.index("Adaptation helps: after 100 steps") < body.index("<table")
    assert "<net>" not in page and "lasso &amp; co" in page and "steppe adapt x" in page
    assert not re.search(r"(src|href)=[\"']http", page)
    assert page.count("<svg") == 3 and "rate 0.01" in page and "1,000" in page


def test_a_page_where_nothing_was_kept_or_finite(tmp_path):
    nothing = dataclasses.replace(
        RECORD, kept=0, rate=None, rates=None, scores=((None, None, None),), given=(None,) * 4,
        adapted=(None,) * 4,
    )  # fmt: skip
    page = write_adaptation_page(tmp_path / "a.html", nothing).read_text()
    assert "Not adapted" in page and "4 of 4" in page and ">adapted<" not in page
