"""The page on inverse problems: its blocks run and do what they say."""

import re
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).parents[3] / "docs" / "inverse.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_what_the_page_imports_is_there():
    for line in "".join(BLOCKS).splitlines():
        if line.startswith(("import ", "from ")):
            exec(line, {})


@pytest.mark.slow
def test_the_blocks_of_the_page_do_what_they_say():
    names = {}
    for block in BLOCKS:
        exec(compile(block, PAGE.name, "exec"), names)
    assert len(BLOCKS) >= 6 and names["task"].n == 64
    F = lambda x: float(names["loss"](x))
    assert F(names["fista"].params) < F(np.zeros(64))
    assert 0 < names["greedy"].iterations <= 16
    assert np.all(names["better"] < names["published"])
