"""The file of a certificate: the type and range of every entry.

`Certificate` (certificate.py) is made of these hints. They are checked when a file is read, by
`verify`, and in what `certify` writes; the ranges bound what a file can cost its reader.
"""

from typing import Annotated, Any, Literal, TypedDict

from ..store.hints import Check, Wrong, shown
from ..store.untrusted import Between, ByName, Length, Line

TASKS = 10_000_000  # runs of one certificate
STEPS = 10_000_000  # iterations of a run
CLAIMS = 4096
CANDIDATES = 2**53
STAGES = 64
MEASURES = 20  # at the end of a run
SEEDS = 2**32  # of `certify`: jax.random.key takes 32 bits where float64 is off
NAME = 2000  # characters
BYTES = 2**25  # of a file
VALUES = 600_000  # numbers, words, lists and tables of a file
B, C = 100.0, 100.0  # b and c of the grid of prior variances, see `pac_bayes.py`
LEAST_TASKS = 8  # of a PAC-Bayes bound, for ln(2√N)
LARGEST = 1.7976931348623157e308


def _inside(x: Any) -> object:
    if not 0 < x < 1:
        raise Wrong(shown(x), "a number between 0 and 1, neither of them")
    return x


Inside = Annotated[float, Check(_inside)]
Tasks = Annotated[int, Between(0, TASKS)]
Seen = Annotated[int, Between(1, TASKS)]
Step = Annotated[int, Between(0, STEPS)]
Share = Annotated[float, Between(0, 1)]
Positive = Annotated[float, Between(5e-324, LARGEST)]
Words = Annotated[str, Length(20_000)]
Statement = Annotated[str, Length(BYTES)]
Name = Annotated[str, Length(NAME), Line]
Digest = Annotated[str, Length(128)]

Semantics = Literal["first_hit", "stay"]
Simultaneous = Literal["grid", "pointwise", "uniform"]


class Failures(TypedDict):
    """Runs that failed."""

    failures: Tasks


class Drawn(TypedDict):
    """Counts of the values that runs came to; null stands for ∞."""

    values: list[tuple[float | None, Seen]]


class OfMembers(TypedDict, total=False):
    """Runs that failed: of a Gaussian posterior, or of each member of a finite one."""

    failures: Tasks
    failures_of_members: list[Tasks]


class Rows(TypedDict):
    """Measures of each run, in the order of the runs; null stands for ∞."""

    rows: list[Annotated[list[float | None], Length(MEASURES, 1)]]


class Error(TypedDict):
    """The metric: see `Metric`."""

    name: Annotated[str, Length(NAME, 1), Line]
    definition: Words
    unit: Words
    signed: bool


class AbstractEntry(TypedDict):
    """Entries that all claims have."""

    n: Seen
    delta: Inside
    statement: Words


class Success(AbstractEntry):
    type: Literal["success"]
    tolerance: float
    k: Step
    method: str
    evidence: Failures
    bound: Share


class Holds(AbstractEntry):
    type: Literal["holds"]
    name: Name
    method: str
    evidence: Failures
    bound: Share


class Quantile(AbstractEntry):
    type: Literal["quantile"]
    level: Inside
    k: Step
    method: Literal["order_statistic"]
    evidence: Drawn
    bound: float | None


class Iterations(AbstractEntry):
    type: Literal["iterations"]
    level: Inside
    tolerance: float
    semantics: Semantics
    method: Literal["order_statistic"]
    evidence: Drawn
    bound: float | None


class MeanIterations(AbstractEntry):
    type: Literal["mean_iterations"]
    tolerance: float
    semantics: Semantics
    method: Literal["kl", "kl2", "hoeffding"]
    evidence: Drawn
    bound: Share


class Ends(AbstractEntry):
    type: Literal["ends"]
    level: Inside
    measures: Annotated[list[Error], Length(MEASURES, 1)]
    at_loss: float | None
    method: Literal["joint_order_statistic"]
    evidence: Rows
    bound: Annotated[list[float | None], Length(MEASURES, 1)]


class AbstractRandomised(TypedDict):
    """Further entries of a PAC-Bayes bound."""

    on_tasks: Share
    budget: Positive


class RandomisedSuccess(AbstractEntry, AbstractRandomised):
    type: Literal["success"]
    tolerance: float
    k: Step
    method: Literal["pac_bayes"]
    evidence: OfMembers
    bound: Share


class RandomisedHolds(AbstractEntry, AbstractRandomised):
    type: Literal["holds"]
    name: Name
    method: Literal["pac_bayes"]
    evidence: OfMembers
    bound: Share


SHARES = ("clopper_pearson", "kl", "kl2", "hoeffding")  # bounds of a share of failures
Entry = Annotated[
    dict,
    ByName(
        "type",
        {
            "success": Annotated[
                dict,
                ByName(
                    "method",
                    dict.fromkeys([*SHARES, "dkw"], Success) | {"pac_bayes": RandomisedSuccess},
                ),
            ],
            "holds": Annotated[
                dict,
                ByName("method", dict.fromkeys(SHARES, Holds) | {"pac_bayes": RandomisedHolds}),
            ],
            "quantile": Quantile,
            "iterations": Iterations,
            "mean_iterations": MeanIterations,
            "ends": Ends,
        },
    ),
]


class Counts(TypedDict):
    """Runs above each tolerance, after 0, 1, …, K steps."""

    tolerances: list[float]
    failures: list[list[Tasks]]


class Grid(TypedDict):
    """The grid of prior variances, and the place of each group on it."""

    b: float
    c: float
    places: list[Annotated[int, Between(1, 2**53)]]


class Gaussian(TypedDict):
    kind: Literal["gaussian"]
    tasks: Seen
    divergence: Annotated[float, Between(0, LARGEST)]
    grid: Grid
    weights: Digest


class Finite(TypedDict):
    kind: Literal["finite"]
    tasks: Seen
    divergence: Annotated[float, Between(0, LARGEST)]
    prior: Annotated[list[Positive], Length(VALUES, 1)]
    posterior: Annotated[list[Share], Length(VALUES, 1)]


Posterior = (
    Annotated[dict, ByName("kind", {"gaussian": Gaussian, "finite": Finite})]
    | Annotated[dict, Length(0)]
)


class Environment(TypedDict, total=False):
    """Machine, versions and date, and the precision of the errors."""

    date: Words
    python: Words
    versions: dict[Words, Words]
    device: Words
    processor: Words
    cores: Annotated[int, Between(0, 2**31)] | None
    system: Words
    commit: Words
    dtype: Words


Described = dict[Name, Any]
Options = dict[Name, Any]  # of a task: the task says what they are
