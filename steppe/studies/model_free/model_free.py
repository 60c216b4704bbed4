"""What do model-free learned optimizers gain on rugged functions, quadratics and networks?

The testbeds of "Learning to Optimize: A Primer and A Benchmark" (Chen et al., JMLR 2022) for
optimizers that see gradients alone, with rivals whose rates are tuned, and the same functions,
starts and batches for all:

R1  Rastrigin functions, its Figure 7      Q1  quadratics      N1  networks, its Figure 8

    steppe reproduce model-free --scale small

What is expected: `expectations.toml`, there before the run; what came out: `README.md`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax.random as jr

from ...evaluation.engines import Row
from ...evaluation.records import number
from .. import cost
from ..sources import digest_of
from ..study import Cell, Conclusion, Study, records
from ..suite import concluded, own
from . import methods, problems, summary
from .settings import ADAPTED, ModelFree

LETTERS = ("R1", "Q1", "N1")
EXPECTATIONS = Path(__file__).with_name("expectations.toml")
QUADRATIC = "10"  # unknowns
TIMED = 20  # steps of the measurement of time
DESCENT = 300  # steps of each start of the oracle
PLACES = 6  # digits of a record


def cells(settings: ModelFree) -> Iterator[Cell]:
    names = ("runs", "functions", "steps", "restarts", "tuned_on", "updates", "episodes")
    sizes = {name: getattr(settings, name) for name in names} | {"meta_seed": 0}
    for n in settings.sizes:
        of_size = {"suite": "R1", "panels": [str(n)], **sizes}
        yield of_size | {"methods": [*settings.by_hand, methods.TOGETHER, "restarts"]}
        for name in settings.learned:
            yield of_size | {"methods": [name]}
    short = {"steps": min(settings.steps, summary.SHORT)}
    quadratics = {"suite": "Q1", "panels": [QUADRATIC], **sizes, **short}
    yield quadratics | {"methods": list(settings.by_hand)}
    yield quadratics | {"methods": list(settings.shipped)}
    for name in settings.learned:
        if name != "l2o-scale":  # a published panel of coordinatewise rules
            yield quadratics | {"methods": [name]}
    networks = {
        "suite": "N1", "steps": settings.steps, "seeds": settings.seeds, "meta_seed": 0,
        "tuned_on": settings.tuning_seeds, "meta_steps": settings.meta_steps,
    }  # fmt: skip
    for panel in settings.networks:
        by_hand = [name for name in settings.by_hand if name != "nag"]  # as in the survey
        yield networks | {"panels": [panel], "methods": by_hand}
        shipped = [name for name in settings.shipped if name != ADAPTED]
        yield networks | {"panels": [panel], "methods": shipped}
    for name in settings.recipes:
        for seed in range(settings.meta_seeds):
            yield networks | {"panels": list(settings.networks), "methods": [name],
                              "meta_seed": seed}  # fmt: skip
    rastrigins = {"suite": "R1", "panels": [str(n) for n in settings.sizes], **sizes}
    for source in settings.optimizers:
        of_file = {"methods": [source], "digest": digest_of(source)}
        yield rastrigins | of_file
        yield quadratics | of_file
        yield networks | {"panels": list(settings.networks)} | of_file


def run(cell: Cell) -> dict[str, Any]:
    found = []
    for name in cell["methods"]:
        method = None
        for panel in cell["panels"]:
            task = problems.problem(cell["suite"], panel)
            if method is None or name in methods.MAKE:  # a rate is tuned on each panel
                method = methods.made(cell, name, task)
            about = {"panel": panel, "method": name, **method.about}
            found.append(about | looked(cell, name, panel, method))
    return {"rows": found}


def looked(cell: Cell, name: str, panel: str, method: methods.Method) -> dict[str, Any]:
    """The curves of a method on a panel, and its cost."""
    task, opt = problems.problem(cell["suite"], panel), method.opt
    if cell["suite"] == "N1":
        look = problems.train_networks(task, opt, name, panel, cell["seeds"], cell["steps"])
    elif name == "restarts":
        return oracle(cell, method)
    else:
        runs, functions, steps = (cell[part] for part in ("runs", "functions", "steps"))
        starts = methods.STARTS if name == methods.TOGETHER else 1
        look = problems.look(task, opt, runs, functions, steps, starts)
    time_us = None
    if cell["suite"] == "Q1":
        time_us = round(1e6 * cost.of_step(task, opt, TIMED, jr.key(0)), 3)
    return {
        "kind": method.kind,
        "at": list(look.at),
        "values": [[_plain(x) for x in row] for row in look.values],
        "lost": look.lost,
        "of": look.of,
        "last": [_plain(x) for x in look.last] if cell["suite"] == "R1" else [],
        "accuracy": list(look.accuracy),
        "parameters": cost.numbers(opt),
        "gradients": opt.gradients_per_step,
        "training_s": method.seconds,
        "step_us": time_us,
    }


def oracle(cell: Cell, method: methods.Method) -> dict[str, Any]:
    """The lowest of many starts, the bound below all values, and the mean at the start."""
    task = problems.problem("R1", cell["panels"][0])
    runs, functions = cell["runs"], cell["functions"]
    steps = min(DESCENT, cell["steps"])
    last = problems.lowest(task, method.opt, runs, functions, steps, cell["restarts"])
    return {
        "kind": "oracle",
        "last": [_plain(x) for x in last],
        "bounds": [_plain(x) for x in problems.bounds(task, runs, functions)],
        "start": _plain(float(problems.start(task))),
    }


def _plain(x: float) -> float | None:
    found = number(float(x))
    return None if found is None else float(f"{found:.{PLACES}g}")


def conclude(settings: ModelFree, rows: Sequence[Row]) -> Conclusion:
    mine = own(rows, LETTERS)
    content = {"records": records(mine)}
    return concluded(EXPECTATIONS, summary.quantities(mine), summary.tables(mine), **content)


def budget(settings: ModelFree) -> str:
    return "days" if settings.meta_steps > 1000 else ""


STUDY = Study(cells, f"{__name__}:run", conclude, budget, keep_programs=True)
