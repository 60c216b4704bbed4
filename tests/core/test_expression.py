"""Formulas: text, values, derivatives, LaTeX, and strings that are no formula."""

import math
import re
import time

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from hypothesis import given, reject, settings

from steppe.core.expression import (
    DEPTH,
    NESTED,
    OPERATIONS,
    Apply,
    Coefficient,
    Number,
    Variable,
    coefficients,
    evaluate,
    fill,
    functions,
    latex,
    lift,
    parse,
    size,
    variables,
    walk,
)

NAMES = ("g", "mn95", "mn9_999")
INPUTS = {(name, lag): 0.3 + 0.41 * k - 0.7 * lag for k, name in enumerate(NAMES) for lag in (0, 2)}
COEFFICIENTS = (0.7, -1.3, 0.02)
LEAVES = st.one_of(
    st.floats(-3, 3).map(Number),
    st.sampled_from((1e-8, -2.5e30, 0.0, -1e-5, 12.0)).map(Number),
    st.integers(0, 2).map(Coefficient),
    st.builds(Variable, st.sampled_from(NAMES), st.sampled_from((0, 2))),
)


def applied(inner):
    one = st.sampled_from([name for name, op in OPERATIONS.items() if op.arity == 1])
    two = st.sampled_from([n for n, op in OPERATIONS.items() if op.arity == 2 and n != "^"])
    return st.one_of(
        st.builds(lambda name, a: Apply(name, (a,)), one, inner),
        st.builds(lambda name, a, b: Apply(name, (a, b)), two, inner, inner),
        st.builds(lambda a, k: Apply("^", (a, Number(float(k)))), inner, st.integers(-3, 3)),
    )


TREES = st.recursive(LEAVES, applied, max_leaves=12)


@settings(max_examples=1000, deadline=None)
@given(TREES)
def test_text_reads_back_to_the_same_tree(e):
    text = str(e)
    assert parse(text) == e
    assert str(parse(text)) == text
    bare = fill(e, COEFFICIENTS)
    lifted, numbers = lift(bare)
    assert fill(lifted, numbers) == bare
    assert len(numbers) == coefficients(lifted)


SYMBOLS = {key: sympy.Symbol(f"{key[0]}_lag{key[1]}", real=True) for key in INPUTS}
CS = sympy.symbols("c0:3", real=True)
OURS = {  # independent of the table
    "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b,
    "/": lambda a, b: a / b, "neg": lambda a: -a, "^": lambda a, k: a**k, "abs": sympy.Abs,
    "sqrt": sympy.sqrt, "square": lambda a: a**2, "tanh": sympy.tanh, "exp": sympy.exp,
    "log": sympy.log, "sign": sympy.sign, "asinh": sympy.asinh, "max": sympy.Max,
    "min": sympy.Min, "aq": lambda a, b: a / sympy.sqrt(1 + b**2),
}  # fmt: skip


def check_value(e):
    """The value by NumPy is that of sympy's own program for the same tree."""
    with np.errstate(all="ignore"):
        float64 = {key: np.float64(x) for key, x in INPUTS.items()}
        ours = evaluate(e, float64, np.array(COEFFICIENTS), functions(np), np.float64)
        # Numbers are symbols too: sympy's program divides them as Python does, which raises.
        numbers = {}
        symbol = lambda x: numbers.setdefault(x, sympy.Symbol(f"n{len(numbers)}", real=True))
        with sympy.evaluate(False):
            theirs = evaluate(e, SYMBOLS, CS, OURS, symbol)
        program = sympy.lambdify([*SYMBOLS.values(), *CS, *numbers.values()], theirs, "numpy")
        expected = program(*map(np.float64, (*INPUTS.values(), *COEFFICIENTS, *numbers)))
    if np.isfinite(expected):
        np.testing.assert_allclose(ours, expected, rtol=1e-12)
    else:
        assert not np.isfinite(ours)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(TREES)
def test_values_are_those_of_sympy(e):
    check_value(e)


@pytest.mark.slow
@settings(max_examples=1000, deadline=None)
@given(TREES)
def test_values_of_a_thousand_are_those_of_sympy(e):
    check_value(e)


@pytest.mark.parametrize(
    "text",
    [
        "c0 * tanh(c1 * mn95) / c2",
        "c0 * aq(g, c1 * mn95[2]) - square(c2 + g)^-2",
        "exp(c0) * log(abs(c1) + c2^2) + asinh(c1 * g) * sqrt(c0)",
        "max(c0 * g, c1) + min(c2, c0 * c1)",
    ],
)
def test_derivatives_by_coefficients_are_those_of_sympy(text):
    e = parse(text)
    with jax.enable_x64(True):
        inputs = {key: jnp.float64(x) for key, x in INPUTS.items()}
        value = lambda c: evaluate(e, inputs, c, functions(jnp))
        ours = jax.jit(jax.grad(value))(jnp.array(COEFFICIENTS))
    theirs = evaluate(e, SYMBOLS, CS, OURS)
    at = [*zip(SYMBOLS.values(), INPUTS.values(), strict=True), *zip(CS, COEFFICIENTS, strict=True)]
    expected = [float(sympy.diff(theirs, c).subs(at).evalf(30)) for c in CS]
    np.testing.assert_allclose(ours, expected, rtol=1e-12)


def closing(text, start):
    """The place of the brace or bracket that closes the one at `start`."""
    depth = 0
    for k in range(start, len(text)):
        depth += (text[k] in "{(") - (text[k] in "})")
        if depth == 0:
            return k
    raise AssertionError(text)


def python_of(tex):
    r"""Python for LaTeX, by rewriting; `\left|…\right|` was made abs(…) before."""
    for command, word in (("\\frac", "divide"), ("\\sqrt", "sqrt")):
        while command in tex:
            start = tex.rindex(command)  # the innermost is the last of those inside another
            stop = closing(tex, start + len(command))
            first = tex[start + len(command) + 1 : stop]
            if word == "sqrt":
                tex = f"{tex[:start]}sqrt({first}){tex[stop + 1 :]}"
            else:
                end = closing(tex, stop + 1)
                tex = f"{tex[:start]}(({first})/({tex[stop + 2 : end]})){tex[end + 1 :]}"
    return tex


def read_latex(tex):
    tex = re.sub(r"\\mathrm\{([a-z0-9\\_]+)\}(?:_\{t-(\d+)\})?", lambda m: (
        f"V[{m[1].replace(chr(92), '')!r},{m[2] or 0}]"), tex)  # fmt: skip
    tex = re.sub(r"c_\{(\d+)\}", r"C[\1]", tex)
    tex = tex.replace(r"\left|", "abs(").replace(r"\right|", ")")
    tex = tex.replace(r"\left(", "(").replace(r"\right)", ")")
    tex = re.sub(r"\^\{(-?\d+)\}", r"**(\1)", tex)
    tex = re.sub(r"\\operatorname\{(\w+)\}", r"\1", tex)
    tex = re.sub(r"\\(tanh|exp|log|max|min)", r"\1", tex).replace(r"\cdot", "*")
    tex = python_of(tex).replace("{", "(").replace("}", ")")
    # Whole numbers of Python cannot be raised to negative powers in NumPy, and know no infinity.
    tex = re.sub(r"(?<![\w.\[,*(])(\d+\.?\d*)(?![\w.\]])", r"F(\1)", tex)
    names = {
        "V": {k: np.float64(x) for k, x in INPUTS.items()}, "C": np.array(COEFFICIENTS),
        "F": np.float64, "abs": np.abs, "sqrt": np.sqrt, "tanh": np.tanh, "exp": np.exp,
        "log": np.log, "sign": np.sign, "asinh": np.arcsinh, "max": np.maximum, "min": np.minimum,
    }  # fmt: skip
    return eval(tex, {"__builtins__": {}}, names)


@settings(max_examples=300, deadline=None)
@given(TREES)
def test_latex_says_the_same_function(e):
    with np.errstate(all="ignore"):
        float64 = {key: np.float64(x) for key, x in INPUTS.items()}
        expected = evaluate(e, float64, np.array(COEFFICIENTS), functions(np), np.float64)
        try:
            found = read_latex(latex(e))
        except (ZeroDivisionError, OverflowError):  # of plain numbers of Python, which know no ∞
            reject()
    if np.isfinite(expected):
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    else:
        assert not np.isfinite(found)


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("g", 1),
        ("-g", 2),
        ("-0.5", 1),
        ("c0 * g", 3),
        ("-0.01 * tanh(1.3 * mn95)", 6),
        ("g^2", 3),
        ("square(g)", 2),
        ("aq(g, mn95[3])", 3),
        ("g + g + g", 5),
        ("max(abs(g), 1e-8) / (1 - c0)", 8),
    ],
)
def test_nodes_counted_by_hand(text, nodes):
    assert size(parse(text)) == nodes


def test_what_minus_and_power_mean():
    value = lambda text: evaluate(parse(text), {("x", 0): 3.0}, (), functions(np))
    assert value("-2^2") == -4 and value("(-2)^2") == 4 and value("2^-2") == 0.25
    assert value("1 - 2 - 3") == -4 and value("8 / 2 / 2") == 2 and value("8 / 2 * 4") == 16
    assert value("-x * 2") == -6 and value("2 * -x") == -6 and value("--x") == 3
    assert value("1 + 2 * x^2") == 19 and value("aq(x, 0)") == 3 and value(".5e1") == 5
    with np.errstate(all="ignore"):
        assert math.isnan(value("sqrt(-1)")) and value("log(0)") == -math.inf


def test_parts_are_found_and_rounded():
    e = parse("-0.012345 * (g[3] + mn95) / g + 1.5^2")
    assert variables(e) == (Variable("g"), Variable("g", 3), Variable("mn95"))
    assert [str(node) for node, depth in walk(e) if depth == 2] == [str(a) for a in e.arguments]
    assert str(fill(e, (), 2)) == "-0.012 * (g[3] + mn95) / g + 1.5^2"
    assert lift(e)[1] == (-0.012345, 1.5)
    assert str(lift(e)[0]) == "c0 * (g[3] + mn95) / g + c1^2"


HOSTILE = {
    "__import__('os')": "found '_'",
    "().__class__": "found '.'",
    "g.real": "found '.'",
    "eval(g)": "no function 'eval'",
    "lambda: g": "found ':'",
    "a\0b": "found '\\x00'",
    "g\nh": "found 'h', expected an operator",
    "(" * 10**6: "1000000 characters",
    "(" * 9000: f"more than {NESTED} deep",
    "-" * 9000: f"more than {NESTED} deep",
    "exp(" * 4000: f"more than {NESTED} deep",
    "+".join("g" * 900): f"more than {DEPTH} deep",
    "(" + ")*(".join(["g+g+g+g+g+g+g+g+g+g+g+g+g+g+g+g+g+g"] * 60) + ")": "more than 2000",
    "1e999": "finite",
    "9" * 19_000: "finite",
    "g[1000000000]": "a lag, a whole number from 0 to 100",
    "g[101]": "a lag",
    "g[-1]": "a lag",
    "g[1.0]": "a lag",
    "g[]": "a lag",
    "c999999999 * g": "c0 to c999",
    "c01": "c0 to c999",
    "g^1000000000": "an exponent",
    "g^0.5": "an exponent",
    "g^g": "an exponent",
    "g^2^3": "brackets",
    "g**2": "found '*'",
    "٣ * g": "found '٣'",
    "g[٣]": "found '٣'",
    "ｇ": "found 'ｇ'",
    "G": "found 'G'",
    "": "its end",
    "g +": "its end",
    "(g": "its end",
    "g)": "found ')'",
    "g g": "found 'g'",
    "2 g": "found 'g'",
    "1.5.2": "found '.2'",
    "1e": "found 'e'",
    "tanh": "expected '(' after tanh",
    "tahn(g)": "did you mean 'tanh'",
    "a" * 9000 + "(g)": "no function",
    "tanh(g, g)": "has 2 arguments, expected 1",
    "max(g)": "has 1 arguments, expected 2",
    "max()": "found ')'",
    "neg(g)": "no function 'neg'",
}


def test_what_is_no_formula_is_refused_at_once_in_one_sentence():
    start = time.process_time()
    for text, words in HOSTILE.items():
        with pytest.raises(ValueError) as caught:
            parse(text)
        said = str(caught.value)
        assert words in said and said.startswith("Formula: "), (text[:40], said)
        assert len(said) < 300 and said.isprintable() and said.endswith((".", "?")), said
    for value in (None, 3, b"g", ["g"]):
        with pytest.raises(ValueError, match="expected a text"):
            parse(value)
    assert time.process_time() - start < 5


def test_coefficients_have_no_gap_and_are_lifted_once():
    with pytest.raises(ValueError, match="c3 is there but c1 is not"):
        coefficients(parse("c0 + c3"))
    with pytest.raises(ValueError, match="has coefficients already"):
        lift(parse("c0 * g"))


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet="c0g1.5e-+*/^()[],_ tanhmx\n", max_size=30))
def test_any_text_is_a_formula_or_refused_in_one_sentence(text):
    try:
        e = parse(text)
    except ValueError as error:
        assert str(error).startswith("Formula: ") and str(error).isprintable()
    else:
        assert parse(str(e)) == e
