"""Search by Operon: known rules are found again, one seed gives one answer, bad data a sentence."""

import itertools
import math
import subprocess
import sys
import time

import numpy as np
import pytest
from distillation import known_rules as known

from steppe.core.expression import (
    Apply,
    Number,
    Variable,
    evaluate,
    functions,
    parse,
    size,
    variables,
    walk,
)
from steppe.distillation.search import (
    SYMBOLS,
    Candidate,
    Search,
    from_nodes,
    front,
    kind,
    safe_roots,
    search,
    values,
)

SUMS = ("add", "sub", "mul")
SEARCHES = {
    "sgd": (known.moments, known.sgd, {}),
    "adam": (known.moments, known.adam, {}),
    "rmsprop": (known.moments, known.rmsprop, {}),
    "lion": (known.moments, known.lion, {"symbols": (*SUMS, "tanh")}),
    "momentum": (known.lags, known.momentum, {"symbols": SUMS, "length": 25, "generations": 30}),
}


def r2(found, right):
    return 1 - np.sum((found - right) ** 2) / np.sum((right - right.mean()) ** 2)


def recovered(name, seed, **other):
    """(formula, its values on other runs, the right ones, CPU-seconds)"""
    inputs, rule, options = SEARCHES[name]
    here, there = known.history(0), known.history(1)
    began = time.process_time()
    e = search(inputs(*here), rule(*here), Search(seed=seed, **options, **other))[-1].expression
    took = time.process_time() - began
    right = rule(*there)
    return e, values(e, inputs(*there), len(right)), right, took


def check(name, seed, **other):
    e, found, right, took = recovered(name, seed, **other)
    assert took <= 10
    if name == "lion":
        assert r2(found, right) >= 0.95
    elif name == "momentum":
        taps = [values(e, {("g", j): np.array([float(j == k)]) for j in range(10)}, 1)[0]
                for k in range(10)]  # fmt: skip
        np.testing.assert_allclose(taps, 0.5 ** np.arange(1, 11), atol=1e-3)
    else:
        np.testing.assert_allclose(found, right, rtol=1e-3)


def test_adam_is_found_from_the_averages():
    pytest.importorskip("pyoperon")
    check("adam", 0, generations=12, population=400)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", SEARCHES)
def test_known_rules_are_found(name, seed):
    pytest.importorskip("pyoperon")
    check(name, seed)


def test_one_seed_gives_one_answer_whatever_the_threads():
    pytest.importorskip("pyoperon")
    inputs, y = known.moments(*known.history(0)), known.rmsprop(*known.history(0))
    text = lambda **own: [
        (str(c.expression), c.r2)
        for c in search(inputs, y, Search(generations=3, population=200, **own))
    ]
    one = text(seed=3)
    assert one == text(seed=3) == text(seed=3, threads=2)
    assert one != text(seed=4)


def test_a_front_rises_and_says_its_own_sizes_and_fits():
    pytest.importorskip("pyoperon")
    draw = np.random.default_rng(0)
    x = draw.normal(size=(2, 400))
    inputs = {("g", 0): 1e-9 * x[0], ("g", 3): 1e9 * x[1]}
    y = 1e-5 * (np.tanh(x[0]) + 0.3 * x[1] + 2)
    found = search(inputs, y, Search(generations=8, population=300, symbols=(*SUMS, "tanh")))
    assert [c.nodes for c in found] == sorted({c.nodes for c in found})
    for before, after in itertools.pairwise(found):
        assert before.r2 < after.r2
    for c in found:
        assert parse(str(c.expression)) == c.expression and size(c.expression) == c.nodes
        seen = evaluate(c.expression, inputs, (), functions(np))
        assert r2(seen, y) == pytest.approx(c.r2, abs=1e-9)
    assert found[-1].r2 > 0.999
    assert set(variables(found[-1].expression)) == {Variable("g"), Variable("g", 3)}


def test_every_symbol_means_what_operon_computes():
    op = pytest.importorskip("pyoperon")
    draw = np.random.default_rng(0)
    X = draw.uniform(0.1, 2, (40, 2)) * np.array([1, -1])
    data = op.Dataset(np.asfortranarray(X))
    columns = sorted(data.Variables, key=lambda v: v.Index)

    def leaf(k, weight):
        node = op.Node.Variable(weight)
        node.HashValue = columns[k].Hash
        return node, k

    inputs = [(Variable("a"), 2.0), (Variable("b"), 1.0)]
    seen = {("a", 0): 2 * X[:, 0], ("b", 0): X[:, 1]}
    two = ("add", "sub", "mul", "div", "fmin", "fmax", "aq")
    for name in SYMBOLS:
        top = op.Node(kind(op, name))
        nodes = [leaf(1, -0.7), leaf(0, 1.5)] if name in two else [leaf(0, 1.5)]
        top.Arity = len(nodes)
        whole = [*nodes, (top, None)]
        tree = op.Tree([node for node, _ in whole]).UpdateNodes()
        right = op.Evaluate(op.DispatchTable(), tree, data, op.Range(0, 40))
        e = from_nodes(op, whole, inputs)
        np.testing.assert_allclose(values(e, seen, 40), right, rtol=2e-6, atol=1e-6, err_msg=name)


def test_a_safe_root_changes_no_row_and_has_no_pole():
    v = 10 ** np.linspace(-8, 2, 60)
    columns = {("m9", 0): np.ones(60), ("v9", 0): v}
    e = parse("2 * m9 / (3 * sqrt(v9)) + sqrt(v9)")
    safe = safe_roots(e, columns)
    np.testing.assert_allclose(values(safe, columns, 60), values(e, columns, 60), rtol=1e-6)
    zero = {("m9", 0): np.ones(1), ("v9", 0): np.zeros(1)}
    assert np.isinf(values(e, zero, 1)) and np.isfinite(values(safe, zero, 1))
    assert sum(node == Apply("sqrt", (Variable("v9"),)) for node, _ in walk(safe)) == 1
    signed = parse("m9 / sqrt(m9)")
    assert safe_roots(signed, columns) == signed


def test_sizes_out_of_the_usual_range_are_taken():
    pytest.importorskip("pyoperon")
    x = np.random.default_rng(0).normal(size=200)
    how = Search(generations=2, population=100, symbols=SUMS)
    for scale, unit in ((1e-100, 1e100), (1e100, 1e-100), (1e-250, 1e-250)):
        found = search({("g", 0): scale * x}, unit * (x + 3), how)[-1]
        assert found.r2 > 1 - 1e-9
        seen = values(found.expression, {("g", 0): scale * x}, 200)
        np.testing.assert_allclose(seen, unit * (x + 3), rtol=1e-5, atol=1e-5 * unit)


def test_the_front_drops_what_another_beats():
    c = lambda nodes, fit: Candidate(Number(float(nodes)), nodes, fit)
    assert front([c(5, 0.9), c(3, 0.5), c(4, 0.5), c(3, 0.4), c(9, -math.inf), c(6, 0.91)]) == [
        c(3, 0.5), c(5, 0.9), c(6, 0.91),
    ]  # fmt: skip


ROWS = np.arange(60.0)


@pytest.mark.parametrize(
    ("inputs", "target", "sentence"),
    [
        ({}, ROWS, "no inputs"),
        ({("g", 0): ROWS[:49]}, ROWS[:49], "at least 50 rows"),
        ([ROWS], ROWS, "columns by name and lag"),
        ({("g", 0): ROWS}, [str(x) for x in ROWS], "the target must be an array of real numbers"),
        ({("g", 0): 1j * ROWS}, ROWS, "search: g must be an array of real numbers"),
        ({("g", 1): [[1.0], [1.0, 2.0]]}, ROWS, r"search: g\[1\] must be an array of real numbers"),
        ({("g", 0): ROWS > 3}, ROWS, "search: g must be an array of real numbers"),
        ({("g h", 0): ROWS}, ROWS, "'g h'.* expected a name"),
        ({("c0", 0): ROWS}, ROWS, "expected a name"),
        ({("__import__('os')", 0): ROWS}, ROWS, "expected a name"),
        ({("g", -1): ROWS}, ROWS, "expected a name"),
        ({"g": ROWS}, ROWS, "expected a name"),
        ({("g", 0): ROWS}, ROWS[None], "at least 50 rows"),
        ({("g", 2): ROWS[:55]}, ROWS, r"g\[2\] has shape \(55,\)"),
        ({("g", 0): np.where(ROWS == 7, np.nan, ROWS)}, ROWS, "1 of 60 rows .* row 7"),
        ({("g", 0): ROWS}, np.where(ROWS > 57, np.inf, ROWS), "2 of 60 rows .* row 58"),
    ],
)
def test_bad_rows_are_refused_in_a_sentence(inputs, target, sentence):
    with pytest.raises(ValueError, match=sentence):
        search(inputs, target)


def test_settings_are_a_search():
    with pytest.raises(ValueError, match=r"settings must be a Search\(…\), got {'seed': 0}"):
        search({("g", 0): ROWS}, ROWS, {"seed": 0})


def test_a_constant_target_is_refused():
    pytest.importorskip("pyoperon")
    with pytest.raises(ValueError, match="target is 2 in all 60 rows"):
        search({("g", 0): ROWS}, np.full(60, 2.0))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"symbols": ("add", "relu")}, "no symbol 'relu'; "),
        ({"symbols": ("ad",)}, "did you mean 'add'"),
        ({"symbols": "add,mul"}, "symbols must be a tuple"),
        ({"symbols": ()}, "symbols must be a tuple"),
        ({"generations": 0}, "generations must be at least 1"),
        ({"population": 2}, "population must be at least 10"),
        ({"rows": 10}, "rows must be at least 50"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"threads": 1.5}, "threads must be a whole number"),
        ({"safe": "yes"}, "safe must be True or False, got 'yes'"),
    ],
)
def test_settings_out_of_range_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        Search(**options)


def test_without_operon_the_message_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyoperon", None)
    with pytest.raises(ImportError, match=r'pip install "steppe\[symbolic\]"'):
        search({("g", 0): ROWS}, ROWS)


def test_operon_is_imported_by_a_search_alone():
    code = "import sys, steppe, steppe.distillation.search; assert 'pyoperon' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
