"""The inputs that the formula of an update rule may name, and the state they need.

    g                the gradient
    mom95            m ← βm + (1 − β)g, begun at 0; the digits are β: .95
    ms95             v ← βv + (1 − β)g²
    m95, v95         the same without bias, m/(1 − βᵗ) and v/(1 − βᵗ)
    mn95             m95 / (√v95 + 1e-8), the first input of RNNProp
    gn95             g / (√v95 + 1e-8), its second input
    mn9_999          m9 / (√v999 + 1e-8), the step of Adam
    size5, sign5     max(ln(|g| + ε)/5, −1) and clip(e⁵g, −1, 1), the inputs of DM

Each is a number of one coordinate, and `name[3]` what it was 3 steps ago, 0 before the first step.
Averages are kept once, whatever inputs share them. The functions take arrays of any library with
the functions of its operations (`core.expression.functions`). Standard library only.
"""

import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..core.arguments import real
from ..core.expression import Expression, Variable, coefficients, lift, parse, variables
from ..core.messages import brief, did_you_mean

ADAM = "-0.001 * mn9_999"
EPS = 1e-8  # added to roots of v, as in RNNProp and Adam
EPSILON = 1.1920929e-07  # in DM's logarithm (published code)
SHARPEST = 80  # p from which e^p is close to the largest float32
FLOATS = 1024  # of state a coordinate, at most

NAMES = ("g", "mom9", "ms9", "m9", "v9", "mn9", "gn9", "mn9_999", "size5", "sign5")
INPUT = re.compile(r"(mom|ms|mn|m|v|gn)([0-9]{1,6})|mn([0-9]{1,6})_([0-9]{1,6})", re.ASCII)
CLAMPED = re.compile(r"(size|sign)([1-9][0-9]?)", re.ASCII)


class Average(NamedTuple):
    """x ← βx + (1 − β)g^power."""

    name: str  # m95 or v95
    power: int
    beta: float


class Plan(NamedTuple):
    """A formula, read, and what is remembered of a coordinate to compute it."""

    expression: Expression
    coefficients: int
    names: tuple[str, ...]  # of inputs
    averages: tuple[Average, ...]
    lags: tuple[tuple[str, int], ...]  # inputs that are looked back at, and how far

    @property
    def floats(self) -> int:
        """Numbers of state a coordinate."""
        return len(self.averages) + sum(lags for _, lags in self.lags)


@functools.lru_cache(maxsize=256)
def plan(text: str) -> Plan:
    """Read a formula, and say what it needs. ValueError for a text that is no update rule."""
    e = parse(text)
    seen = variables(e)
    names = tuple(dict.fromkeys(variable.name for variable in seen))
    averages = {average.name: average for name in names for average in averages_of(name)}
    furthest = {variable.name: variable.lag for variable in seen}  # lags come in order
    lags = tuple((name, lag) for name, lag in furthest.items() if lag)
    found = Plan(e, coefficients(e), names, tuple(averages.values()), lags)
    if found.floats > FLOATS:
        raise ValueError(
            f"Formula: it remembers {found.floats} numbers of each coordinate, {FLOATS} at most; "
            "look less far back, or name fewer inputs."
        )
    return found


def canonical(formula: str, numbers: Sequence[float] | None) -> tuple[str, tuple[float, ...]]:
    """A formula in c0, c1, … and the numbers that these begin with.

    - `numbers`: None takes those that stand in the formula; if given, what stands there stays

    ValueError for coefficients without numbers, and numbers without coefficients.
    """
    found = plan(formula)
    if numbers is not None:
        if not hasattr(numbers, "__len__") or isinstance(numbers, str | dict):
            raise ValueError(
                f"Symbolic: coefficients must be a tuple of numbers, got {brief(numbers)}."
            )
        numbers = [real("Symbolic: coefficients", x) for x in numbers]
    if numbers is None and not found.coefficients:
        e, numbers = lift(found.expression)
        return str(e), numbers
    if numbers is None or len(numbers) != found.coefficients:
        given = "no numbers" if numbers is None else f"{len(numbers)} numbers"
        raise ValueError(
            f"Symbolic: the formula has {found.coefficients} coefficients, but coefficients has "
            f"{given}; give as many, or write the numbers into the formula."
        )
    return str(found.expression), tuple(numbers)


@functools.lru_cache(maxsize=1024)
def averages_of(name: str) -> tuple[Average, ...]:
    """The averages that an input is made of. ValueError for an unknown name."""
    if name == "g" or CLAMPED.fullmatch(name):
        return ()
    match = INPUT.fullmatch(name)
    if match is None:
        raise ValueError(
            f"Formula: there is no input {name[:40]!r}; {did_you_mean(name[:40], NAMES)} The "
            "digits are a decay: m95 averages with .95."
        )
    kind, digits, first, second = match.groups()
    if kind is None:
        return _average("m", first), _average("v", second)
    letters = {"mom": "m", "m": "m", "ms": "v", "v": "v", "gn": "v", "mn": "mv"}[kind]
    return tuple(_average(letter, digits) for letter in letters)


def _average(letter: str, digits: str) -> Average:
    digits = digits.rstrip("0") or "0"
    return Average(letter + digits, 1 if letter == "m" else 2, float(f"0.{digits}"))


def advance(averages: Sequence[Average], old: Sequence[Any], g: Any) -> tuple:
    """The averages after a step with gradient g."""
    square = g * g
    return tuple(
        beta * x + (1 - beta) * (g if power == 1 else square)
        for (_, power, beta), x in zip(averages, old, strict=True)
    )


def inputs(
    plan: Plan,
    g: Any,
    averages: Sequence[Any],
    count: Any,
    operations: Mapping[str, Callable],
    number: Callable[[float], Any] = float,
) -> dict[str, Any]:
    """The inputs of this step by name.

    - `averages`: after the step, in the order of the plan
    - `count`: number of the step, from 1, of a floating dtype
    - `operations`, `number`: as `core.expression.evaluate` takes them
    """
    at = dict(zip(plan.averages, averages, strict=True))
    do, fair = operations, lambda average: at[average] / (1 - average.beta**count)

    def made(name: str) -> Any:
        if name == "g":
            return g
        if match := CLAMPED.fullmatch(name):
            return clamped(g, match[1] == "size", int(match[2]), do, number)
        *first, last = averages_of(name)
        if name.startswith(("mom", "ms")):
            return at[last]
        if name.startswith(("mn", "gn")):
            return (fair(first[0]) if first else g) / (do["sqrt"](fair(last)) + EPS)
        return fair(last)

    return {name: made(name) for name in plan.names}


def clamped(g: Any, size: bool, p: int, do: Mapping, number: Callable[[float], Any]) -> Any:
    """One of the two inputs of DM."""
    if size:
        return do["max"](do["log"](do["abs"](g) + EPSILON) / p, number(-1.0))
    return do["max"](do["min"](g * math.exp(p), number(1.0)), number(-1.0))


def letters(v: Variable) -> str:
    r"""An input in LaTeX: `mn95[3]` is `\tilde{m}_{.95,\,t-3}`."""
    ago = f"t-{v.lag}" if v.lag else ""
    if v.name == "g":
        return f"g_{{{ago or 't'}}}"
    kind = v.name.rstrip("0123456789_")
    digits = v.name[len(kind) :].split("_")
    base = {
        "mom": "m", "ms": "v", "m": r"\hat{m}", "v": r"\hat{v}", "mn": r"\tilde{m}",
        "gn": r"\tilde{g}", "size": r"\operatorname{size}", "sign": r"\operatorname{sgn}",
    }[kind]  # fmt: skip
    point = "" if kind in ("size", "sign") else "."
    below = [point + part for part in digits] + ([r"\," + ago] if ago else [])
    return f"{base}_{{{','.join(below)}}}"
