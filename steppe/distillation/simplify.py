"""Simpler formulas of the same value, without a library.

    simplify(parse("2 * (0.5 * g + g) / sqrt(4 * abs(v95))"))       1.5 * g / sqrt(v95)

Bottom-up, every part is brought into a normal form, a sum of products of powers, and the shortest
way to write it is kept:

    Σ c_k Π f^p         c numbers, f variables or functions of normal forms, p whole exponents

So constants are folded, like terms and like factors joined, neutral elements and double signs
dropped, numbers pulled out of √, |·|, powers and quotients, and sums and products put in one order.
Where the formula has a value, the simpler one has the same, and it is never longer: both are
checked, the value on rows, and a formula that fails is returned as it was.
"""

import math
import re
from collections.abc import Iterable, Mapping

import numpy as np

from ..core.arguments import told
from ..core.expression import (
    Apply,
    Coefficient,
    Expression,
    Number,
    Variable,
    evaluate,
    functions,
    size,
    walk,
)

Factors = tuple[tuple[Expression, int], ...]  # each with its exponent, in order
Terms = dict[Factors, float]  # each with its number; () is the constant

SQUARES = re.compile(r"v[0-9_]+")  # averages of squares: these variables are never negative
ROWS = 64
NEAR = 1e-9  # relative difference that rounding may make
ODD = ("tanh", "asinh", "sign")


def simplify(
    e: Expression, variables: Mapping[tuple[str, int], np.ndarray] | None = None
) -> Expression:
    """A formula of the same value wherever `e` has one, and of no more nodes.

    - `variables`: rows by name and lag on which the two are compared; random ones if not given
    """
    if not isinstance(e, Expression):
        raise ValueError(f"simplify: expected a formula, as parse(text) gives it, got {told(e)}.")
    try:
        found = normal(e)
    except ArithmeticError:  # a number out of range
        return e
    longer = size(found) > size(e)
    return e if longer or not agree(e, found, variables) else found


def agree(
    e: Expression,
    other: Expression,
    variables: Mapping[tuple[str, int], np.ndarray] | None = None,
) -> bool:
    """True if both have the same values on rows, up to rounding, wherever the first has one."""
    draw = np.random.default_rng(0)
    named = [node for node, _ in walk(e) if isinstance(node, Variable)]
    count = max((node.index + 1 for node, _ in walk(e) if isinstance(node, Coefficient)), default=0)
    if variables is None:
        columns = {}
        for v in sorted(set(named), key=str):
            x = draw.normal(size=ROWS) * np.exp(draw.normal(size=ROWS))
            columns[v.name, v.lag] = np.abs(x) if SQUARES.fullmatch(v.name) else x
    else:
        columns = {key: np.asarray(x, np.float64) for key, x in variables.items()}
    numbers = draw.normal(size=count)
    with np.errstate(all="ignore"):
        value = lambda x: evaluate(x, columns, numbers, functions(np), np.float64)
        a, b = np.broadcast_arrays(value(e), value(other))
        here = np.isfinite(a)
        if not here.any():
            return e == other
        room = NEAR * (np.abs(a[here]) + np.median(np.abs(a[here])))
        return bool(np.all(np.abs(a[here] - b[here]) <= room))


def normal(e: Expression) -> Expression:
    """The normal form, written as short as it can be. ArithmeticError for numbers out of range."""
    if not isinstance(e, Apply):
        return e
    if e.operation == "^":
        base, power = e.arguments
        assert isinstance(power, Number)
        return power_of(normal(base), int(power.value))
    parts = tuple(normal(a) for a in e.arguments)
    if all(isinstance(p, Number) for p in parts):
        return folded(Apply(e.operation, parts))
    match e.operation:
        case "+" | "-" | "neg":
            return as_sum(terms(Apply(e.operation, parts)))
        case "*" | "/":
            return as_product(*monomial(Apply(e.operation, parts)))
        case "square":
            return power_of(parts[0], 2)
    return of_function(e.operation, parts)


def folded(e: Apply) -> Expression:
    """The number that an operation on numbers is; as it stands where it is not finite."""
    with np.errstate(all="ignore"):
        value = float(evaluate(e, {}, (), functions(np), np.float64))
    return Number(value) if math.isfinite(value) else e


def of_function(name: str, parts: tuple[Expression, ...]) -> Expression:
    """A function of normal forms, with what can be said before it pulled out."""
    x = parts[0]
    c, factors = monomial(x)
    if name == "abs":
        return as_product(abs(c), absolute(factors))
    if name == "sqrt":
        return root(c, factors)
    if name in ODD:
        if name == "sign":
            c = math.copysign(1.0, c)
        if c >= 0:
            return Apply(name, (as_product(c, factors),))
        flipped = as_product(-1.0, ((Apply(name, (as_product(-c, factors),)), 1),))
        return shortest(flipped, Apply(name, (as_product(c, factors),)))
    if name == "aq":
        other, below = monomial(parts[1])
        if x == Number(0.0) or parts[1] == Number(0.0):
            return x
        below = as_product(abs(other), below)
        if not factors:
            return Apply("aq", (x, below))
        return as_product(c, ((Apply("aq", (as_product(1.0, factors), below)), 1),))
    if name in ("max", "min"):
        return x if parts[0] == parts[1] else Apply(name, tuple(sorted(parts, key=place)))
    return Apply(name, parts)


def absolute(factors: Factors) -> Factors:
    """|Π f^p|, with factors that are never negative outside."""
    outside = tuple((f, p) for f, p in factors if p % 2 == 0 or nonnegative(f))
    inside = tuple(pair for pair in factors if pair not in outside)
    if not inside:
        return outside
    return ordered([*outside, (Apply("abs", (as_product(1.0, inside),)), 1)])


def root(c: float, factors: Factors) -> Expression:
    """√(c Π f^p), with the number and a whole even power outside."""
    if len(factors) == 1 and factors[0][1] % 2 == 0 and c > 0:
        f, p = factors[0]
        powers = ((f, p // 2),)
        return as_product(math.sqrt(c), powers if p % 4 == 0 else absolute(powers))
    if c > 0 and factors and all(nonnegative(f) and p < 0 for f, p in factors):
        below = Apply("sqrt", (as_product(1.0, raised(factors, -1)),))
        return as_product(math.sqrt(c), ((below, -1),))
    inside = Apply("sqrt", (as_product(math.copysign(1.0, c), factors),))
    kept = Apply("sqrt", (as_product(c, factors),))
    return shortest(as_product(math.sqrt(abs(c)), ((inside, 1),)), kept)


def nonnegative(e: Expression) -> bool:
    """True for a formula that can have no negative value."""
    match e:
        case Number():
            return e.value >= 0
        case Variable():
            return SQUARES.fullmatch(e.name) is not None
        case Apply("abs" | "sqrt" | "square" | "exp", _):
            return True
        case Apply("^", (_, Number() as power)):
            return power.value % 2 == 0
        case Apply("+" | "*" | "/" | "min", parts):
            return all(map(nonnegative, parts))
        case Apply("max", parts):
            return any(map(nonnegative, parts))
        case Apply("tanh" | "asinh" | "sign" | "aq", (x, *_)):
            return nonnegative(x)
    return False


def power_of(base: Expression, power: int) -> Expression:
    """base^power of a normal form."""
    c, factors = monomial(base)
    if c == 0 and power < 0:
        raise ZeroDivisionError
    return as_product(c**power, raised(factors, power))


def raised(factors: Factors, power: int) -> Factors:
    return ordered([(f, p * power) for f, p in factors])


def terms(e: Expression) -> Terms:
    """The terms of a sum of normal forms, like ones joined."""
    match e:
        case Apply("+", (a, b)):
            return joined(terms(a), terms(b))
        case Apply("-", (a, b)):
            return joined(terms(a), times(-1.0, terms(b)))
        case Apply("neg", (a,)):
            return times(-1.0, terms(a))
    c, factors = monomial(e)
    return {factors: c}


def joined(a: Terms, b: Terms) -> Terms:
    found = dict(a)
    for factors, c in b.items():
        found[factors] = finite(found.get(factors, 0.0) + c)
    return found


def times(c: float, a: Terms) -> Terms:
    return {factors: finite(c * own) for factors, own in a.items()}


def monomial(e: Expression) -> tuple[float, Factors]:
    """Number and factors of a product of normal forms; of a sum, its first number and the rest."""
    match e:
        case Number():
            return e.value, ()
        case Apply("*", (a, b)):
            (c, f), (d, g) = monomial(a), monomial(b)
            return finite(c * d), ordered([*f, *g])
        case Apply("/", (a, b)):
            (c, f), (d, g) = monomial(a), monomial(b)
            return finite(c / d), ordered([*f, *raised(g, -1)])
        case Apply("neg", (a,)):
            c, f = monomial(a)
            return -c, f
        case Apply("square", (a,)):
            c, f = monomial(a)
            return finite(c * c), raised(f, 2)
        case Apply("^", (a, Number() as power)):
            c, f = monomial(a)
            return finite(c ** int(power.value)), raised(f, int(power.value))
        case Apply("+" | "-", _):
            found = {f: c for f, c in terms(e).items() if c}
            if len(found) < 2:
                return next(((c, f) for f, c in found.items()), (0.0, ()))
            first = min(found, key=lambda f: (not f, [place(x) for x, _ in f]))
            c = found[first]
            return c, ((flat_sum({f: own / c for f, own in found.items()}), 1),)
    return 1.0, ((e, 1),)


def ordered(factors: Iterable[tuple[Expression, int]]) -> Factors:
    """Like factors joined, in order; √x counts as half a power of x where x is never negative."""
    powers: dict[Expression, int] = {}
    for f, p in factors:
        powers[f] = powers.get(f, 0) + p
    for f in [f for f in powers if isinstance(f, Apply) and f.operation == "sqrt"]:
        [x] = f.arguments
        if nonnegative(x) and (powers[f] % 2 == 0 or x in powers):
            halves = powers.pop(f)
            whole = monomial(x)[1]
            if len(whole) == 1:
                halves += 2 * powers.pop(x, 0)
            rest = math.fmod(halves, 2)  # −1, 0 or 1
            for g, q in [*((g, q * int((halves - rest) // 2)) for g, q in whole), (f, int(rest))]:
                powers[g] = powers.get(g, 0) + q
    kept = [(f, p) for f, p in powers.items() if p]
    return tuple(sorted(kept, key=lambda pair: place(pair[0])))


def as_sum(found: Terms) -> Expression:
    """The shortest of a sum as it stands, with its inner sums opened, and as a number times one."""
    opened: Terms = {}
    for factors, c in found.items():
        inner = len(factors) == 1 and factors[0][1] == 1 and is_sum(factors[0][0])
        opened = joined(opened, times(c, terms(factors[0][0])) if inner else {factors: c})
    c, factors = monomial(flat_sum(opened))
    return shortest(flat_sum(found), flat_sum(opened), written(c, factors))


def flat_sum(found: Terms) -> Expression:
    """Σ c Π f^p, positive terms first and the constant last."""
    kept = [(f, c) for f, c in found.items() if c]
    kept.sort(key=lambda term: (not term[0], term[1] < 0, [place(f) for f, _ in term[0]]))
    if not kept:
        return Number(0.0)
    if kept[0][1] < 0 and not kept[-1][0] and kept[-1][1] > 0:
        kept.insert(0, kept.pop())  # 1 - x
    e = written(kept[0][1], kept[0][0])
    for factors, c in kept[1:]:
        e = Apply("-" if c < 0 else "+", (e, written(abs(c), factors)))
    return e


def as_product(c: float, factors: Factors) -> Expression:
    """The shortest way to write c Π f^p: a product, or a sum where it is a number times one."""
    ways = [written(c, factors)]
    for k, (f, p) in enumerate(factors):
        if c < 0 and p % 2 and is_sum(f):
            turned = (flat_sum(times(-1.0, terms(f))), p)
            ways.append(written(-c, (*factors[:k], turned, *factors[k + 1 :])))
    if len(factors) == 1 and factors[0][1] == 1 and is_sum(factors[0][0]) and c:
        ways.insert(0, flat_sum(times(c, terms(factors[0][0]))))
    return shortest(*ways)


def is_sum(e: Expression) -> bool:
    return isinstance(e, Apply) and e.operation in ("+", "-")


def written(c: float, factors: Factors) -> Expression:
    """c · above / below."""
    c = finite(c)
    if not factors or c == 0:
        return Number(c)
    above = [powered(f, p) for f, p in factors if p > 0]
    below = [powered(f, -p) for f, p in factors if p < 0]
    if c == 1 and not above and min(p for _, p in factors) < -1:  # f^-2, not 1 / square(f)
        k = min(range(len(factors)), key=lambda k: factors[k][1])
        above, below = [powered(*factors[k])], below[:k] + below[k + 1 :]
    if c == -1 and above:
        above[0] = Apply("neg", (above[0],))
    elif c != 1 or not above:
        above.insert(0, Number(c))
    e = chained(above)
    return Apply("/", (e, chained(below))) if below else e


def chained(parts: list[Expression]) -> Expression:
    e = parts[0]
    for part in parts[1:]:
        e = Apply("*", (e, part))
    return e


def powered(f: Expression, p: int) -> Expression:
    if p == 1:
        return f
    return Apply("square", (f,)) if p == 2 else Apply("^", (f, Number(float(p))))


def place(e: Expression) -> tuple:
    """Order of factors and terms: coefficients, variables by name and lag, functions, numbers."""
    match e:
        case Coefficient():
            return (0, "", e.index)
        case Variable():
            return (1, e.name, e.lag)
        case Number():
            return (3, "", e.value)
    return (2, str(e), 0)


def shortest(*ways: Expression) -> Expression:
    return min(ways, key=size)


def finite(x: float) -> float:
    """x, or ArithmeticError for a number that is none."""
    if not math.isfinite(x):
        raise OverflowError
    return x


def product(*parts: Expression) -> Expression:
    return chained(list(parts))


def total(parts: Iterable[Expression]) -> Expression:
    first, *others = parts
    for part in others:
        first = Apply("+", (first, part))
    return first
