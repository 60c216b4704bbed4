"""Find the best solver for a family of problems within a budget, guard it, certify it.

    solver = learn_solver(task, budget=120)
    print(solver.verdict)                     is a learned one better, and by how much
    solver.save("solver.safetensors")         one file: solver, comparison, certificate

All solvers that the structure of the family allows are tried (`candidates.py`), the learned ones
trained by successive halving (`race.py`) and judged on validation problems. The winner is compared
with all others on problems that nobody has seen, and certified on others again (`search.py`). Where
a classical solver is better, it is the winner, and the verdict says so.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..core.task import AbstractTask
from ..train.stopping import heeded
from .candidates import CANDIDATES, Candidate
from .search import Search
from .settings import recognised, settled
from .solver import Solver


def learn_solver(
    family: AbstractTask,
    *,
    goal: str = "objective",
    budget: float | None = 120.0,
    tries: int | None = None,
    tolerances: Sequence[float] | None = None,
    by: str | None = None,
    steps: int | None = None,
    problems: int = 64,
    n: int = 300,
    delta: float = 0.01,
    levels: Sequence[float] = (0.5, 0.95),
    candidates: Sequence[Candidate] = CANDIDATES,
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    say: Callable[[str], None] = lambda text: None,
) -> Solver:
    """Find, train, compare, guard and certify a solver for a family of problems.

    - `family`: a task whose losses are a `Composite`, smooth + regularizer
    - `goal`: "objective", the error is (F(x) − F(x*)) / |F(x*)|; or "recovery", the error in dB
      against the vector that the data were made from, where the losses tell it (`truth`)
    - `budget`: seconds in all, compiling included, to within a fifth; positive. None: give `tries`
    - `tries`: meta-steps of each learned solver in each round, in place of a budget: nothing
      depends on a clock then, nothing is timed, and iterations decide
    - `tolerances`: errors to reach, from easy to hard; the last decides. By default 1e-3 and 1e-6,
      or −10, −20 and −40 dB
    - `by`: what decides: seconds a problem in a "batch", the default, or "alone"; or "iterations"
    - `steps`: iterations to look at, at least 1; by default twice those of FISTA with restart
    - `problems`: for validation, and as many again for the comparison, at least 1
    - `n`, `delta`, `levels`: of the certificate, see `certify`
    - `candidates`: the solvers to try, one that is made by hand among them
    - `name`, `options`: of a named task, for the file and the page
    - `seed`: of all draws, at least 0
    - `say`: called with lines of progress

    A first Ctrl-C or SIGTERM ends the search: the best solver so far is returned, without a
    certificate. Raises ValueError for arguments out of range, TypeError for a family without the
    structure.
    """
    began = time.perf_counter()
    how = settled(
        goal=goal,
        budget=budget,
        tries=tries,
        tolerances=tolerances,
        by=by,
        steps=steps,
        problems=problems,
        n=n,
        delta=delta,
        levels=levels,
        candidates=candidates,
        seed=seed,
    )
    about, given = recognised(family, how.error), dict(options or {})
    words = ", ".join([name or type(family).__name__, *(f"{k} {x}" for k, x in given.items())])
    with heeded() as stop:
        stop.patient = True
        found = Search(about, how, words, stop, say, began).run(name, given)
    recipe = {"task": name, "task_options": given, "horizon": found.record.steps}
    return dataclasses.replace(found, recipe=recipe if name else {})
