"""Rows to fit formulas to: inputs of one coordinate at one step, and the update it got there.

    table = tabulate(runs, "mn95 + gn95[2]")     inputs named in a formula, with their lags
    parts = table.split()                         fit, validation, test: by run

Rows of one run resemble each other, so that a run belongs to one part with all its rows. Inputs are
computed by the code of `Symbolic` (`optimizers.formulas`), in float64. Rows of a coordinate whose
gradients were all 0 so far are left out.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ..core.expression import Expression, Variable, functions, variables
from ..optimizers import formulas
from .record import Runs

LEAST = 50  # rows, below which nothing is fitted
SHARES = (0.6, 0.2, 0.2)  # of the runs: fit, validation, test

Inputs = Mapping[tuple[str, int], Float[np.ndarray, " rows"]]


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows, side by side.

    - `inputs`: by name and lag
    - `target`: the updates
    - `run`, `step`, `tensor`: numbers that say where a row is from; the first step is 1
    - `tensors`: their names
    """

    inputs: Inputs
    target: Float[np.ndarray, " rows"]
    run: Int[np.ndarray, " rows"]
    step: Int[np.ndarray, " rows"]
    tensor: Int[np.ndarray, " rows"]
    tensors: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.target)

    def rows(self, which: Bool[np.ndarray, " rows"] | Int[np.ndarray, " some"]) -> "Table":
        """Some of the rows."""
        cut = {name: getattr(self, name)[which] for name in ("target", "run", "step", "tensor")}
        return Table({k: x[which] for k, x in self.inputs.items()}, **cut, tensors=self.tensors)

    def sample(self, most: int, seed: int = 0) -> "Table":
        """Rows drawn without repeats, `most` at most."""
        if len(self) <= most:
            return self
        drawn = np.random.default_rng(seed).choice(len(self), most, replace=False)
        return self.rows(np.sort(drawn))

    def column(self, v: Variable) -> Float[np.ndarray, " rows"]:
        """The values of one input."""
        return self.inputs[v.name, v.lag]

    def split(self, seed: int = 0) -> "Split":
        """Rows to fit, to choose by and to report on, from different runs.

        Raises ValueError where there are fewer than three runs, or fewer than 50 rows of a part.
        """
        runs = np.unique(self.run)
        if len(runs) < 3:
            raise ValueError(
                f"split: {len(runs)} runs are too few to fit, choose and report on; record 3 at "
                "least."
            )
        order = np.random.default_rng(seed).permutation(runs)
        last = max(1, round(SHARES[2] * len(runs)))
        middle = max(1, round(SHARES[1] * len(runs)))
        cuts = np.split(order, [len(runs) - middle - last, len(runs) - last])
        found = Split(*(self.rows(np.isin(self.run, part)) for part in cuts))
        for name, part in zip(Split._fields, found, strict=True):
            check_rows(len(part), f"split: the part {name} has")
        return found


class Split(NamedTuple):
    """Rows of three groups of runs."""

    fit: Table
    validation: Table
    test: Table


def check_rows(rows: int, said: str) -> None:
    """Refuse rows that are too few."""
    if rows < LEAST:
        raise ValueError(
            f"{said} {rows} rows, but a fit needs {LEAST} at least; record more runs, steps or "
            "coordinates."
        )


def tabulate(runs: Runs, names: str | Expression | Iterable[Variable]) -> Table:
    """The rows of recorded runs, with these inputs.

    - `names`: a formula whose inputs are meant, such as "mn95 + g[3]"; or the variables

    Raises ValueError for unknown inputs, numbers that are not finite, and fewer than 50 rows.
    """
    wanted = _variables(names)
    for name in ("g", "u"):
        if bad := int(np.size(x := getattr(runs, name)) - np.isfinite(x).sum()):
            raise ValueError(
                f"tabulate: {bad} of the recorded {'gradients' if name == 'g' else 'updates'} are "
                "not finite; leave out the runs that they are of."
            )
    kept = np.cumsum(runs.g != 0, axis=1) > 0  # (runs, steps, coordinates)
    check_rows(int(kept.sum()), "tabulate: the recorded runs have")
    run, step, place = np.nonzero(kept)
    seen = inputs(runs.g, wanted)
    return Table(
        {(v.name, v.lag): seen[v][kept] for v in wanted},
        runs.u[kept],
        run,
        step + 1,
        np.asarray(runs.tensor)[place],
        runs.names,
    )


def _variables(names: str | Expression | Iterable[Variable]) -> tuple[Variable, ...]:
    if isinstance(names, str):
        return variables(formulas.plan(names).expression)
    found = variables(names) if isinstance(names, Expression) else tuple(dict.fromkeys(names))
    for variable in found:
        formulas.averages_of(variable.name)  # raises for an unknown name
    return found


def inputs(
    g: Float[np.ndarray, "runs steps coordinates"], wanted: Iterable[Variable]
) -> dict[Variable, Float[np.ndarray, "runs steps coordinates"]]:
    """The inputs at every step, 0 where they look back beyond the first."""
    names = dict.fromkeys(v.name for v in wanted)
    if not names:
        return {}
    plan = formulas.plan(" + ".join(names))
    do = functions(np)
    averages = tuple(np.zeros(g[:, 0].shape) for _ in plan.averages)
    seen = {name: np.empty(g.shape) for name in names}
    with np.errstate(divide="ignore"):  # ln(0 + ε) is finite, but g may be subnormal
        for t in range(g.shape[1]):
            averages = formulas.advance(plan.averages, averages, g[:, t])
            now = formulas.inputs(plan, g[:, t], averages, float(t + 1), do)
            for name, x in now.items():
                seen[name][:, t] = x
    return {v: delayed(seen[v.name], v.lag) for v in wanted}


def delayed(x: Float[np.ndarray, "runs steps coordinates"], lag: int) -> np.ndarray:
    """x as it was `lag` steps ago, 0 before the first step."""
    if not lag:
        return x
    out = np.zeros_like(x)
    out[:, lag:] = x[:, : max(x.shape[1] - lag, 0)]
    return out
