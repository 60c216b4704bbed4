"""The study of games: its numbers from made-up records, its cells, and M4 beside plain NumPy."""

import dataclasses
import math

import jax.random as jr
import numpy as np
import pytest

from steppe.core.episode import begin
from steppe.evaluation.engines import Row
from steppe.optimizers.classic.games import Extragradient
from steppe.optimizers.learned.twin import Twin
from steppe.studies.games import bilinear, games, methods, suite
from steppe.studies.games.settings import SCALES, GamesSizes
from steppe.studies.suite import judge, missing, read_expectations

AT = [0, 10, 50, 100, 200, 300, 1000]


def curve(values):
    return {name: list(values) for name in ("mean", "median", "low", "high")}


def run(
    letter, panel, method, distances, *, merit=None, seed=0, settled=1.0, rejections=None, **more
):
    cell = {"suite": letter, "panel": panel, "seed": seed}
    result = {
        "method": method, "at": AT, "distance_min": curve(distances), "settled": settled,
        "distance_max": curve([0.0] * len(AT)), "merit": curve(merit or distances),
        "nonfinite": 0, "gradients": 2, "rejections": rejections, "parameters": 9, "problems": 5,
        "training": 1.0, **more,
    }  # fmt: skip
    return Row("", cell, {"rows": [result]}, None, None, 1, {})


def bilinear_run(d, method, median, given_up=0):
    result = {"method": method, "d": d, "median": median, "low": 1.0, "high": 9.0, "gradients": 2,
              "given_up": given_up, "games": 40, "parameters": 1, "training": 0.0}  # fmt: skip
    return Row("", {"suite": "M4"}, {"rows": [result]}, None, None, 1, {})


ROWS = [
    run("M1", "seesaw", "Twin", [0.25, 0.1, 0.009, 1e-4, 1e-4, 1e-4, 1e-5]),
    run("M1", "seesaw", "Twin, published", [0.25, 0.2, 0.2, 0.2, 0.3, 0.1, None]),
    run("M2", "seesaw-3", "Twin", [1.0] * 7, settled=0.5),
    run("M2", "seesaw-3", "Twin", [1.0] * 7, settled=0.7, seed=1),
    run("M2", "seesaw-3", "Twin, easy first", [1.0] * 7, settled=0.6),
    run("M2", "seesaw-3", "Twin, easy first", [1.0] * 7, settled=0.6, seed=1),
    run("M3", "matrix-game-5", "Halpern", [1.0] * 7, merit=[1.0, 0.5, 0.4, 0.2, 0.1, 0.1, 0.05]),
    run("M3", "matrix-game-5", "Twin, guarded", [1.0] * 7, rejections=10.0,
        merit=[1.0, 0.6, 0.2, 0.1, 0.1, 0.1, 0.002]),
    bilinear_run(5, "extragradient", 4000.0),
    bilinear_run(5, "learned extragradient, guarded", 400.0),
    bilinear_run(5, "Twin, guarded", 1000.0, given_up=20),
]  # fmt: skip


def test_numbers_are_read_off_the_records_by_name():
    found = suite.quantities(ROWS)
    expected = {
        "M1.seesaw.twin.start": 0.25, "M1.seesaw.twin.50": 0.009, "M1.seesaw.published.bump": 3.0,
        "M1.seesaw.published.1000": math.inf, "M2.seesaw-3.twin": 0.6, "M2.seesaw-3.gain": 0.0,
        "M2.seesaw-3.worst-gain": -0.1, "M3.matrix-game-5.guarded.over-halpern": 1.2,
        "M3.matrix-game-5.guarded.share": 0.002, "M3.matrix-game-5.guarded.rejected": 0.01,
        "M4.5.learned-guarded.gain": 10.0,
    }  # fmt: skip
    for name, value in expected.items():
        assert found[name] == pytest.approx(value), name
    assert found["M4.5.guarded"] == 1000.0
    assert "M4.5.guarded.gain" not in found  # it was given up before it arrived


def test_what_was_trained_too_little_is_not_judged():
    few = [dataclasses.replace(row, cell={**row.cell, "epochs": 4}) for row in ROWS]
    assert suite.quantities(few) == {}


def test_expectations_are_about_numbers_that_the_small_run_has():
    """Every name is one that a complete set of records gives."""
    rows = [
        *(run("M1", panel, method, [0.1] * 7) for panel in SCALES["small"].panels for method in
          (*methods.RIVALS, *methods.FIXED, *games.TWINS)),
        *(run("M2", f"seesaw-{k}", method, [0.1] * 7) for k in SCALES["small"].ranges
          for method in games.PACED),
        *(run("M3", "matrix-game-5", method, [0.1] * 7, rejections=1.0) for method in
          ("Halpern", "Twin, guarded", "random Twin, guarded")),
        *(run("M3", games.PUBLISHED, method, [0.1] * 7, rejections=1.0, singular=0.3) for method in
          ("Halpern", "Twin, guarded", "random Twin, guarded")),
        *(bilinear_run(d, method, 2.0) for d in SCALES["small"].dimensions for method in
          ("extragradient", "learned extragradient, guarded")),
    ]  # fmt: skip
    numbers = suite.quantities(rows)
    assert numbers["M3.published-5.singular"] == 0.3
    assert missing(read_expectations(suite.EXPECTATIONS), numbers) == []


def test_the_conclusion_has_tables_panels_costs_and_a_line_for_each_expectation():
    said = suite.conclude(SCALES["small"], ROWS)
    assert len(said.verdicts) == len(read_expectations(suite.EXPECTATIONS))
    by = {verdict.claim: verdict for verdict in judge(read_expectations(suite.EXPECTATIONS), {})}
    assert all(verdict.unjudged for verdict in by.values())  # nothing was measured
    assert "| learned extragradient, guarded | 2 | 400 |" in said.text
    assert (
        "reproduced      seesaw: Twin at most 1e-2 away after 50 (0.009, at most 0.01)" in said.text
    )
    assert [p.suite for p in suite.panels(ROWS)] == ["M1", "M3", "M2", "M4"]
    assert {c.kind for c in suite.costs(ROWS) if c.method == "Twin, guarded"} == {"learned"}


def test_cells_are_flat_tables_that_know_their_letter():
    cells = list(games.cells(GamesSizes(ranges=(2, 3), seeds=2)))
    count = lambda **of: sum(of.items() <= cell.items() for cell in cells)
    assert count(suite="M2", panel="seesaw-3") == 2 and count(suite="M1", part="twin") == 12
    assert count(suite="M4") == 5 and count(part="by hand") == 5
    only = GamesSizes(letters=("M3",))
    assert {cell["suite"] for cell in games.cells(only)} == {"M3"}
    both = list(games.cells(dataclasses.replace(only, folder="here")))
    assert [cell.get("folder") for cell in both] == [None, "here"] * 2
    for wrong in ({"letters": ("M5",)}, {"ranges": (8,)}, {"panels": ("chess",)}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            dataclasses.replace(only, **wrong)


def test_gradients_are_counted_as_a_loop_in_numpy_does_and_gmres_takes_fewest():
    key, rate, games_ = jr.key(0), 0.4, 3
    counts, _ = bilinear.gradients(Extragradient(rate), 2, games_, 4000, key)
    task, expected = bilinear.Bilinear(2), []
    for one in jr.split(key, games_):
        start = begin(task, Extragradient(rate), one)
        A = np.asarray(start.instance)
        x, y = (np.asarray(start.params[player]) for player in ("min", "max"))
        left = lambda x, y, A=A: np.hypot(np.linalg.norm(A @ y), np.linalg.norm(A.T @ x))
        first, steps = left(x, y), 0
        while left(x, y) > 1e-3 * first and steps < 2000:
            ahead = x - rate * A @ y, y + rate * A.T @ x
            x, y, steps = x - rate * A @ ahead[1], y + rate * A.T @ ahead[0], steps + 1
        expected.append(2.0 * steps)
    np.testing.assert_array_equal(counts, expected)
    least = bilinear.least(2, games_, key)
    assert np.all(least <= 5) and np.all(least < counts)  # 4 unknowns, and one gradient to see it


def test_published_steps_of_scheduled_size_take_a_fifth_of_any_run():
    opt = Twin((2,), sign_steps=10, key=jr.key(3))
    longer = methods.for_run_of(opt, 1000)
    assert isinstance(longer, Twin) and longer.sign_steps == 200
    assert longer.rule_min.head.w is opt.rule_min.head.w
    plain = Twin((2,), key=jr.key(3))
    assert methods.for_run_of(plain, 1000) is plain


@pytest.mark.slow
def test_every_kind_of_cell_gives_records_that_can_be_concluded_from():
    sizes = dataclasses.replace(
        SCALES["tiny"], letters=("M1", "M2", "M3", "M4"), epochs=1, steps=100, updates=2, most=200
    )
    rows = [Row("", cell, games.run(cell), None, None, 1, {}) for cell in games.cells(sizes)]
    said = suite.conclude(sizes, rows)
    # Sizes below those of the scale small are in the tables, and are not judged.
    assert {verdict.unjudged for verdict in said.verdicts} == {"not measured", "not claimed"}
    assert suite.panels(rows) and suite.costs(rows)
