"""The formulas that are timed take Adam's steps, the same in both frameworks, and have a limit."""

import numpy as np
import pytest

from steppe.studies.speed import deployed, formulas


def test_numbers_that_a_step_moves():
    assert [formulas.moved(text) for text in formulas.RULES.values()] == [7, 7, 7, 19]


def test_the_timed_steps_are_the_same():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    rules = [formulas.RULES[name] for name in ("adam as a formula", "two inputs, three steps back")]
    for text in ("adam", *rules):
        ends = []
        for make in deployed.MAKE.values():
            call, where = make(text, 2000)
            start = where().copy()
            call()
            call()
            ends.append(where() - start)
        np.testing.assert_allclose(*ends, rtol=1e-3, atol=1e-6)
        if text == "adam":
            first = ends[0]
        elif text == rules[0]:
            np.testing.assert_allclose(ends[0], first, rtol=1e-3, atol=1e-6)
