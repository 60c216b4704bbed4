"""Search for formulas by genetic programming, with the library Operon.

    found = search({("g", 0): g, ("mn95", 0): m}, u, Search(seed=0, generations=20))
    found[-1].expression, found[-1].nodes, found[-1].r2

Burlacu, Kronberger & Kommenda, "Operon C++: an efficient genetic programming framework for symbolic
regression", GECCO 2020. Two objectives, R² and length (NSGA-II); the numbers of every formula are
tuned by a few steps of Levenberg–Marquardt. What comes back is the Pareto front of nodes and R².

The budget is a number of generations, never a time: one seed gives one answer, on any machine of
the kind and with any number of threads. Operon computes in single precision; inputs and target
are therefore divided by a power of two near their size. Scale and offset of every formula are
fitted anew in double precision, and folded into its numbers.

Operon protects some operations silently. Here they are written out, sqrtabs as `sqrt(abs(x))`, so
that a formula means the same everywhere.
"""

import dataclasses
import math
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ..core.arguments import told
from ..core.expression import (
    Apply,
    Expression,
    Number,
    Variable,
    evaluate,
    functions,
    parse,
    size,
)
from ..core.messages import at_least, did_you_mean, missing
from .simplify import nonnegative, product, simplify, total

Inputs = Mapping[tuple[str, int], Float[np.ndarray, " rows"]]  # by name and lag

Nodes = list[tuple[Any, Any]]  # each with the place of its column, None where it has none

LEAST_ROWS = 50
NEGLIGIBLE = 1e-6  # of R²: an offset that adds no more is left out
ROOM = 1e-6  # relative change by what is added under a root
CONVERGED = 1e-12  # 1 − R² at which the search ends early


def _left(operation: str, xs: tuple[Expression, ...]) -> Expression:
    first, *others = xs
    for x in others:
        first = Apply(operation, (first, x))
    return first


_join = lambda operation: lambda *xs: _left(operation, xs)
_call = lambda name: lambda *xs: Apply(name, xs)
# Operon's name → our formula of the same function
SYMBOLS: dict[str, Callable[..., Expression]] = {
    "add": _join("+"),
    "sub": lambda *xs: _left("-", xs) if len(xs) > 1 else Apply("neg", xs),
    "mul": _join("*"),
    "div": lambda *xs: _left("/", xs if len(xs) > 1 else (Number(1.0), *xs)),
    "fmin": lambda *xs: _left("min", xs),
    "fmax": lambda *xs: _left("max", xs),
    "aq": _call("aq"),
    "abs": _call("abs"),
    "exp": _call("exp"),
    "log": _call("log"),
    "sqrt": _call("sqrt"),
    "square": _call("square"),
    "tanh": _call("tanh"),
    "sqrtabs": lambda x: Apply("sqrt", (Apply("abs", (x,)),)),
    "logabs": lambda x: Apply("log", (Apply("abs", (x,)),)),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search:
    """Settings of a search.

    - `seed`: of all that is random
    - `generations`: the budget
    - `population`: formulas in a generation
    - `rows`: used at most, drawn from those given
    - `length`: of a formula at most, in Operon's count: a variable and its factor are one
    - `symbols`: operations, names of `SYMBOLS`
    - `iterations`: of Levenberg–Marquardt, for each new formula
    - `threads`: the result does not depend on it
    - `safe`: add a small number under each root in a denominator, see `safe_roots`
    """

    seed: int = 0
    generations: int = 20
    population: int = 1000
    rows: int = 1000
    length: int = 20
    symbols: tuple[str, ...] = ("add", "sub", "mul", "div", "sqrtabs", "square", "tanh")
    iterations: int = 3
    threads: int = 1
    safe: bool = False

    def __post_init__(self):
        counts = {name: getattr(self, name) for name in ("generations", "length", "threads")}
        at_least(1, "Search", **counts)
        at_least(0, "Search", seed=self.seed, iterations=self.iterations)
        at_least(10, "Search", population=self.population)
        at_least(LEAST_ROWS, "Search", rows=self.rows)
        if not isinstance(self.safe, bool):
            raise ValueError(f"Search: safe must be True or False, got {told(self.safe)}.")
        given = self.symbols
        if not isinstance(given, tuple | list) or not given:
            raise ValueError(
                "Search: symbols must be a tuple of names such as ('add', 'mul'), got "
                f"{told(given)}."
            )
        for name in given:
            if name not in SYMBOLS:
                raise ValueError(
                    f"Search: there is no symbol {told(name)}; {did_you_mean(str(name), SYMBOLS)}"
                )


class Candidate(NamedTuple):
    """A formula with its size and its fit to the rows that were searched."""

    expression: Expression
    nodes: int
    r2: float


def search(
    inputs: Inputs, target: Float[np.ndarray, " rows"], settings: Search | None = None
) -> list[Candidate]:
    """The Pareto front of formulas for `target`, the shortest first and R² rising.

    - `inputs`: columns by name and lag, at least 50 finite rows
    - `target`: to be fitted, not constant

    Raises ValueError for other data, ImportError where pyoperon is not installed.
    """
    settings = Search() if settings is None else settings
    if not isinstance(settings, Search):
        raise ValueError(f"search: settings must be a Search(…), got {told(settings)}.")
    names, X, y = checked(inputs, target)
    op = operon()
    draw = np.random.default_rng(settings.seed)
    rows = np.sort(draw.permutation(len(y))[: settings.rows])
    X, y = X[rows], y[rows]
    if not np.ptp(y):
        raise ValueError(f"search: the target is {y[0]:g} in all {len(y)} rows drawn; give others.")
    scales, unit = [power_of_two(x) for x in X.T], power_of_two(y)
    columns = {name: X[:, k] for k, name in enumerate(names)}
    inputs_ = [(Variable(*name), s) for name, s in zip(names, scales, strict=True)]
    trees = evolve(op, X / scales, y / unit, settings)
    found = [c for tree in trees for c in with_scale(from_nodes(op, tree, inputs_), columns, y)]
    if settings.safe:
        found = [candidate(safe_roots(c.expression, columns), columns, y) for c in found]
    return front(found)


def checked(inputs: Inputs, target: Any) -> tuple[list[tuple[str, int]], np.ndarray, np.ndarray]:
    """Names, columns (rows, inputs) and target of good data, or a sentence."""
    if not isinstance(inputs, Mapping):
        raise ValueError(
            f'search: inputs must be columns by name and lag, such as {{("g", 0): x}}, got '
            f"{told(inputs)}."
        )
    y, names = real_array("search: the target", target), list(inputs)
    if not names:
        raise ValueError("search: there are no inputs; give at least one column by name and lag.")
    if y.ndim != 1 or len(y) < LEAST_ROWS:
        raise ValueError(
            f"search: expected a target of at least {LEAST_ROWS} rows, got one of shape {y.shape}; "
            "record more runs or steps."
        )
    for given in names:
        if not named(given):
            raise ValueError(
                f"search: an input is named {told(given)}, expected a name and a lag as formulas "
                'have them, such as ("mn95", 0).'
            )
    columns = [real_array(f"search: {Variable(*name)}", inputs[name]) for name in names]
    for (name, lag), column in zip(names, columns, strict=True):
        if column.shape != y.shape:
            raise ValueError(
                f"search: {Variable(name, lag)} has shape {column.shape}, the target {y.shape}; "
                "give one number a row."
            )
    X = np.stack(columns, axis=1)
    bad = ~(np.isfinite(X).all(axis=1) & np.isfinite(y))
    if bad.any():
        raise ValueError(
            f"search: {bad.sum()} of {len(y)} rows are not finite, the first is row "
            f"{int(bad.argmax())}; leave them out."
        )
    return names, X, y


def real_array(what: str, x: Any) -> np.ndarray:
    """An array of real numbers in double precision, or a sentence.

    - `what`: its name in the message
    """
    try:
        found = np.asarray(x)
    except ValueError:  # rows of unequal length
        found = np.empty(0, object)
    if found.dtype.kind not in "fiu":
        raise ValueError(f"{what} must be an array of real numbers, got {told(x)}.")
    return found.astype(np.float64)


def named(given: object) -> bool:
    """True for a name and a lag that a formula can have."""
    try:
        name, lag = given  # pyright: ignore[reportGeneralTypeIssues]
        return parse(str(Variable(name, lag))) == Variable(name, lag)
    except (TypeError, ValueError):
        return False


def operon() -> Any:
    """The module pyoperon, imported where it is needed."""
    try:
        import pyoperon
    except ModuleNotFoundError as error:
        raise ImportError(missing(error)) from error
    return pyoperon


def evolve(op: Any, X: np.ndarray, y: np.ndarray, settings: Search) -> list[Nodes]:
    """The best front by NSGA-II on R² and length: the nodes of each tree, and their columns."""
    data = op.Dataset(np.asfortranarray(np.column_stack([X, y])))
    columns = sorted(data.Variables, key=lambda v: v.Index)
    hashes = [v.Hash for v in columns[:-1]]
    problem = op.Problem(data)
    problem.TrainingRange = op.Range(0, data.Rows)
    problem.TestRange = op.Range(data.Rows - 1, data.Rows)
    problem.Target, problem.InputHashes = columns[-1], hashes
    kinds = op.NodeType.Constant | op.NodeType.Variable
    for name in settings.symbols:
        kinds |= kind(op, name)
    problem.ConfigurePrimitiveSet(kinds)
    primitives, depth, length = problem.PrimitiveSet, 10, settings.length

    create = op.BalancedTreeCreator(primitives, hashes, 0.0)
    numbers = op.NormalCoefficientInitializer()
    numbers.ParameterizeDistribution(0, 1)
    start = op.UniformLengthTreeInitializer(create)
    least, _ = primitives.FunctionArityLimits()
    start.ParameterizeDistribution(least + 1, max(least + 1, min(10, length)))
    start.MinDepth, start.MaxDepth = 1, 1000

    one, many = op.NormalOnePointMutation(), op.NormalMultiPointMutation()
    one.ParameterizeDistribution(0, 1)
    many.ParameterizeDistribution(0, 1)
    mutations = [
        one,
        many,
        op.ChangeVariableMutation(hashes),
        op.ChangeFunctionMutation(primitives),
        op.ReplaceSubtreeMutation(create, numbers, depth, length),
        op.InsertSubtreeMutation(create, numbers, depth, length),
        op.RemoveSubtreeMutation(primitives),
    ]
    mutate = op.MultiMutation()
    for mutation in mutations:
        mutate.Add(mutation, 1.0)

    # Operon keeps pointers: whatever it was given has a name here until it has run.
    table = op.DispatchTable()
    fit, shortness = op.Evaluator(problem, table, op.R2(), True), op.LengthEvaluator(problem)
    both = op.MultiEvaluator(problem)
    for part in (fit, shortness, both):
        part.Budget = sys.maxsize
    both.Add(fit)
    both.Add(shortness)
    compare = op.CrowdedComparison()
    mothers, fathers = op.TournamentSelector(compare), op.TournamentSelector(compare)
    mothers.TournamentSize = fathers.TournamentSize = 5
    cross = op.SubtreeCrossover(0.9, depth, length)
    tuner = op.LMOptimizer(table, problem, settings.iterations, 0)
    tune = op.CoefficientOptimizer(tuner)
    breed = op.BasicOffspringGenerator(both, cross, mutate, mothers, fathers, tune)
    keep, sort = op.KeepBestReinserter(compare), op.RankSorter()
    config = op.GeneticAlgorithmConfig(
        generations=settings.generations,
        max_evaluations=sys.maxsize,
        local_iterations=settings.iterations,
        population_size=settings.population,
        pool_size=settings.population,
        p_crossover=1.0,
        p_mutation=0.25,
        p_local=1.0,
        p_lamarck=1.0,
        epsilon=CONVERGED,
        seed=settings.seed,
        max_time=sys.maxsize,
    )
    run = op.NSGA2Algorithm(config, problem, start, numbers, breed, keep, sort)
    run.Run(op.RandomGenerator(np.uint64(settings.seed)), None, settings.threads, False)
    place = {x: k for k, x in enumerate(hashes)}
    return [
        [(node, place.get(node.HashValue)) for node in individual.Genotype.Nodes]
        for individual in run.BestFront
    ]


def kind(op: Any, name: str) -> Any:
    """Operon's type of node for a symbol."""
    if name in ("fmin", "fmax"):  # pyoperon 0.6.2 has exchanged the types, but not their names
        return next(t for t in (op.NodeType.Fmin, op.NodeType.Fmax) if op.Node(t).Name == name)
    return getattr(op.NodeType, name.capitalize())


def from_nodes(op: Any, nodes: Nodes, inputs: list[tuple[Variable, float]]) -> Expression:
    """The formula of one of Operon's trees, which are in postfix order, the first operand last.

    - `inputs`: of each column its variable and the scale that it was divided by
    """
    known = {kind(op, name): build for name, build in SYMBOLS.items()}
    stack: list[Expression] = []
    for node, column in nodes:
        number = Number(float(node.Value))
        if node.IsConstant:
            stack.append(number)
        elif node.IsVariable:
            variable, scale = inputs[column]
            stack.append(product(Number(number.value / scale), variable))
        else:
            stack.append(known[node.Type](*(stack.pop() for _ in range(node.Arity))))
    [e] = stack
    return e


def with_scale(e: Expression, columns: Inputs, y: Float[np.ndarray, " rows"]) -> list[Candidate]:
    """The formula scaled to fit y, and the same with an offset where that fits better."""
    x = values(e, columns, len(y))
    if not np.isfinite(x).all() or not np.ptp(x):
        return []
    scale, unit = power_of_two(x), power_of_two(y)  # squares then stay in range
    x, right = x / scale, y / unit
    times = lambda slope: product(Number(slope * (unit / scale)), e)
    plain = candidate(times(float(x @ right / (x @ x))), columns, y)
    centred = x - x.mean()
    slope = float(centred @ right / (centred @ centred))
    offset = Number(unit * float(right.mean() - slope * x.mean()))
    shifted = candidate(total((times(slope), offset)), columns, y)
    return [plain, shifted] if shifted.r2 > plain.r2 + NEGLIGIBLE else [plain]


def candidate(e: Expression, columns: Inputs, y: Float[np.ndarray, " rows"]) -> Candidate:
    e, unit = simplify(e, columns), power_of_two(y)
    right, found = y / unit, values(e, columns, len(y)) / unit
    with np.errstate(all="ignore"):
        r2 = 1 - float(np.sum((right - found) ** 2) / np.sum((right - right.mean()) ** 2))
    return Candidate(e, size(e), r2 if math.isfinite(r2) else -math.inf)


def safe_roots(e: Expression, columns: Inputs) -> Expression:
    """The formula with √(x + ε) for each √x in a denominator, x never negative: no pole at 0.

    It is `aq` in other letters: a/√(x + ε) = aq(a/√ε, √(x/ε)). ε is the least positive x of the
    rows times 2 ROOM, so that no row changes by more than ROOM, relatively.
    """

    def under(e: Expression) -> Expression:
        match e:
            case Apply("*", (a, b)):
                return Apply("*", (under(a), under(b)))
            case Apply("sqrt", (x,)) if nonnegative(x):
                at = values(x, columns, len(next(iter(columns.values()))))
                if (positive := at[np.isfinite(at) & (at > 0)]).size:
                    least = Number(float(f"{2 * ROOM * positive.min():.0e}"))
                    return Apply("sqrt", (Apply("+", (x, least)),))
        return e

    if not isinstance(e, Apply):
        return e
    parts = tuple(safe_roots(part, columns) for part in e.arguments)
    if e.operation == "/":
        parts = (parts[0], under(parts[1]))
    return Apply(e.operation, parts)


def values(e: Expression, columns: Inputs, rows: int) -> Float[np.ndarray, " rows"]:
    """A formula on rows; not finite where it is not."""
    with np.errstate(all="ignore"):
        return np.broadcast_to(np.asarray(evaluate(e, columns, (), functions(np))), (rows,))


def front(found: list[Candidate]) -> list[Candidate]:
    """Those that no other beats in both nodes and R², by nodes."""
    kept: list[Candidate] = []
    sound = [c for c in found if math.isfinite(c.r2)]
    for c in sorted(sound, key=lambda c: (c.nodes, -c.r2, str(c.expression))):
        if not kept or c.r2 > kept[-1].r2:
            kept.append(c)
    return kept


def power_of_two(x: Float[np.ndarray, " rows"]) -> float:
    """A power of two near the root mean square; 1 where all is 0."""
    top = float(np.abs(x).max())
    if not top:
        return 1.0
    size = math.log2(top) + math.log2(np.mean((x / top) ** 2)) / 2
    return 2.0 ** round(min(max(size, -1000), 1000))
