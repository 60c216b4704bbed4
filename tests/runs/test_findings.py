"""Every symptom in a log or a probe is found where it is, and only there, with its numbers."""

import dataclasses
import math

import pytest

from steppe.runs.findings import FEW, Finding, Probe, of_probe, of_rows

HEALTHY = [
    {
        "step": 10 * i,
        "time": 0.1 * i,
        "meta_loss": -0.1 * i + 0.02 * (-1) ** i,
        "grad_norm": 1.0 + 0.1 * (i % 3),
        "nonfinite": 0,
        "episodes": 80,
        "resets": 2,
        "inner_steps_per_s": 1e4,
        "valid_loss": 100.0 - i,
    }
    for i in range(1, 31)
]
SOUND = Probe(
    horizon=100,
    first=2.0,
    losses=(1.0, 0.9, 0.8, 0.7, 0.6),
    lost=None,
    gap=-0.4,
    rms=1e-2,
    rms_adam=1e-3,
    at_bound=0.1,
    cells=(2.0, 2.0, 2.0, 2.0, 2.0),
    seconds=1.0,
)


def changed(name: str, value) -> list[dict]:
    return [row | {name: value(i, row[name])} for i, row in enumerate(HEALTHY)]


def failed(findings: list[Finding]) -> dict[str, dict]:
    """What is wrong, and the numbers it is said with."""
    assert all(bool(finding.fix) != finding.ok for finding in findings)
    return {finding.what: dict(finding.numbers) for finding in findings if not finding.ok}


@pytest.mark.parametrize(
    ("rows", "symptoms"),
    [
        (HEALTHY, set()),
        (HEALTHY[: FEW - 1], set()),
        (changed("grad_norm", lambda i, x: 0.0), {"meta-gradient"}),
        (changed("grad_norm", lambda i, x: 0.0 if i == 4 else x), {"meta-gradient"}),
        (changed("grad_norm", lambda i, x: 2e3 * x if i == 4 else x), {"gradient norm"}),
        (changed("grad_norm", lambda i, x: 9e2 * x if i == 4 else x), set()),
        (changed("nonfinite", lambda i, x: 2), {"divergence"}),  # 2.5 %
        (changed("nonfinite", lambda i, x: i % 2), set()),  # 0.6 %
        (changed("grad_norm", lambda i, x: math.inf if i == 4 else x), {"divergence"}),
        (changed("meta_loss", lambda i, x: math.nan if i == 4 else x), {"divergence"}),
        (changed("valid_loss", lambda i, x: math.inf if i == 29 else x), {"divergence"}),
        (changed("valid_loss", lambda i, x: math.inf if i < 3 else x), set()),  # before it learned
        (changed("meta_loss", lambda i, x: 0.1 * (-1) ** i), {"meta-loss"}),
        (changed("meta_loss", lambda i, x: -x), {"meta-loss"}),
        (changed("meta_loss", lambda i, x: 0.0), {"meta-loss"}),
        (changed("valid_loss", lambda i, x: 100.0 + i), {"best checkpoint"}),
        (changed("valid_loss", lambda i, x: abs(i - 10)), set()),
    ],
)
def test_rows(rows, symptoms):
    assert set(failed(of_rows(rows))) == symptoms


def test_the_numbers_of_rows():
    rows = changed("grad_norm", lambda i, x: [0.0, 0.0, 5e3, *[1.0] * 27][i])
    rows = [row | {"nonfinite": 4, "valid_loss": i} for i, row in enumerate(rows)]
    found = failed(of_rows(rows))
    assert found["meta-gradient"] == {"zero_rows": 2, "rows": 30}
    assert found["gradient norm"] == {"median": 1.0, "largest": 5e3, "rows": 1}
    assert found["divergence"]["share"] == 4 / 80
    assert found["best checkpoint"] == {"best_step": 10, "last_step": 300, "best": 0, "last": 29}


def test_scores_of_another_stage_of_a_curriculum_do_not_count():
    rows = [row | {"stage": int(i >= 15), "valid_loss": i} for i, row in enumerate(HEALTHY)]
    rows[20]["valid_loss"] = 10.0  # the best of its stage, though worse than all of the first
    assert not failed(of_rows(rows))
    assert "meta-step 210 of 300" in [f.evidence for f in of_rows(rows)]
    rows[20]["valid_loss"] = 20.0
    assert set(failed(of_rows(rows))) == {"best checkpoint"}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, {}),
        ({"at_bound": None, "cells": ()}, {}),
        ({"losses": (1.999, 1.5)}, {"probe: loss": {"first": 2.0, "at_horizon": 1.999}}),
        ({"losses": (1.99, 1.5)}, {}),
        ({"losses": (2.5, 1.5)}, {"probe: loss": {"at_horizon": 2.5}}),
        ({"rms": 2.0}, {"probe: update size": {"rms": 2.0, "ratio": 2e3}}),
        ({"rms": 5e-7}, {"probe: update size": {"ratio": 5e-4}}),
        ({"rms": 0.5}, {}),
        ({"at_bound": 0.6}, {"probe: saturation": {"share": 0.6}}),
        ({"cells": (4.0, 20.0)}, {"probe: LSTM state": {"first": 4.0, "last": 20.0}}),
        ({"cells": (8.0, 20.0)}, {}),
        ({"cells": (1.0, 5.0)}, {}),  # tanh has a slope there
        ({"cells": (1.0, math.inf)}, {"probe: LSTM state": {"last": math.inf}}),
        ({"gap": 0.3}, {"probe: longer runs": {"gap": 0.3, "at_horizon": 1.0, "at_end": 0.6}}),
        ({"gap": 0.2}, {}),
        ({"lost": 312, "gap": math.nan}, {"probe: longer runs": {"lost": 312}}),
    ],
)
def test_probes(change, found):
    wrong = failed(of_probe(dataclasses.replace(SOUND, **change)))
    assert set(wrong) == set(found)
    for what, numbers in found.items():
        assert {name: wrong[what][name] for name in numbers} == pytest.approx(numbers)


def test_fixes_fit_the_case():
    fix = lambda **change: [
        f.fix for f in of_probe(dataclasses.replace(SOUND, **change)) if not f.ok
    ]
    assert "dead output" in fix(losses=(2.0,), rms=5e-6)[0]
    assert "lead nowhere" in fix(losses=(2.0,))[0]
    assert "worse than no training" in fix(losses=(3.0,))[0]
    assert "`curriculum.horizons 100,500`" in fix(gap=1.0)[0]
    assert "within its horizon" in fix(lost=99)[0]
    assert "lower `meta.lr`" in fix(rms=10.0)[0]
    assert "raise `meta.lr`" in fix(rms=1e-9)[0]
    assert "`optimizer.scale 0.002`" in fix(rms=10.0, scale=0.02)[0]
    assert "`optimizer.scale 0.2`" in fix(rms=1e-9, scale=0.02)[0]
    assert "`optimizer.scale 0.2`" in fix(at_bound=0.9, scale=0.02)[0]
    assert "scale" not in fix(at_bound=0.9)[0]  # of an optimizer that has none to choose
    chaotic = of_rows(changed("grad_norm", lambda i, x: 2e3 * x if i == 4 else x))
    assert any(
        "`estimator.unroll`" in f.fix and "`meta.clip`" in f.fix and "pes" in f.fix for f in chaotic
    )
