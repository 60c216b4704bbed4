"""PAC-Bayes certificate of a posterior over optimizers, from the N tasks they were trained on.

    Gaussian   pairs of fresh weights and one of the N tasks, drawn at random, fail or not
    Finite     every member runs on every task; q is then picked for the lowest bound

See `pac_bayes.py` for what is bounded, and what for: the tasks may all have been used to train.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax.random as jr
import numpy as np
from jaxtyping import Array, PyTree

from ..core.arguments import told, whole
from ..core.task import AbstractTask
from ..core.types import Key, Split
from . import bounds, pac_bayes
from .certificate import Certificate
from .certify import Outcome, gather, write_down
from .claims import AbstractClaim
from .entries import SEEDS, TASKS
from .episodes import Episodes, Measure, Reading, check_keys, play, reading
from .evidence import entry
from .pac_bayes import Finite, Gaussian
from .plan import (
    Item,
    Plan,
    check_claims,
    check_number_of_claims,
    check_settings,
    check_share,
    check_size,
    plan,
    several,
    standard_claims,
)
from .runs import (
    STREAM,
    AbstractRun,
    Program,
    Runs,
    Static,
    check_told,
    digest,
    numbers,
    split_arrays,
)


def task_keys(seed: int, n: int) -> Key:
    """Keys of n tasks to train a posterior on, (n,)."""
    seed, n = whole("seed", seed, least=0, most=SEEDS - 1), whole("n", n, least=1, most=TASKS)
    return jr.split(jr.fold_in(jr.key(seed), STREAM + 1), n)


class Pairs(AbstractRun):
    """Runs of weights drawn from a posterior, each on one of N tasks drawn with equal chances.

    - `task`: the task
    - `posterior`: a Gaussian over optimizers
    - `tasks`: keys of the N tasks, (N,)
    - `metric`, `split`: the error, see `Episodes`
    - `name`: of the optimizer, in the certificate
    """

    def __init__(
        self,
        task: AbstractTask,
        posterior: Gaussian,
        tasks: Key,
        *,
        metric: str | Measure = "loss",
        split: Split = "valid",
        name: str = "",
    ):
        read, self.metric = reading(task, metric, split)
        arrays, static = split_arrays((task, posterior))
        self.about = {
            "optimizer": {
                "name": name or f"posterior of {type(posterior.draw(jr.key(0))).__name__}",
                "weights": digest(numbers(posterior)),
            },
            "tasks": {"name": type(task).__name__, "options": {}, "data": digest(numbers(task))},
        }
        self.program = Program(_Drawn(static, read), (arrays, tasks))

    def run(self, seed: int, which: range, steps: int) -> Runs:
        return self.program(seed, which, steps)

    def described(self) -> dict[str, Any]:
        return self.about


@dataclasses.dataclass(frozen=True)
class _Drawn:
    """The run of one pair."""

    static: Static
    read: Reading

    def __call__(self, shared: PyTree, key: Key, steps: int) -> tuple[Array, Array]:
        arrays, tasks = shared
        task, posterior = self.static.join(arrays)
        key_weights, key_task = jr.split(key)
        which = jr.randint(key_task, (), 0, len(tasks))
        return play(task, posterior.draw(key_weights), tasks[which], steps, self.read)


def certify_randomised(
    posterior: Gaussian | Finite,
    task: AbstractTask,
    tasks: Key,
    *,
    steps: int,
    metric: str | Measure = "loss",
    split: Split = "valid",
    tolerances: Sequence[float] = (),
    at: Sequence[int] = (),
    claims: Sequence[AbstractClaim] = (),
    delta: float = 0.01,
    pairs: int = 20_000,
    trained_prior: bool = True,
    seed: int = 0,
    batch: int = 1024,
    name: str = "",
    say: Callable[[str], None] = lambda text: None,
) -> Certificate:
    """Certify a randomised optimizer on future tasks, from the N it was trained on.

    - `posterior`: a Gaussian over the weights, or a few optimizers with probabilities
    - `task`: the task
    - `tasks`: keys of the N tasks, (N,), N ≥ 8; `task_keys` makes some
    - `steps`: iterations of each run, K
    - `metric`, `split`: the error, see `Episodes`
    - `tolerances`, `at`: claims of success, as in `certify`
    - `claims`: further claims that a task meets or not
    - `delta`: probability that any statement is wrong, in (0, 1); shared equally over claims, and
      in each by the bound and the calibration
    - `pairs`: runs of the calibration of a Gaussian
    - `trained_prior`: the variances of its prior were trained
    - `seed`: of the calibration; its draws are none of the training's
    - `batch`: runs in memory at a time
    - `name`: of the optimizer, in the certificate
    - `say`: called with a line of progress after each batch
    """
    if not isinstance(posterior, Gaussian | Finite):
        raise ValueError(f"A posterior is a Gaussian or a Finite one, got {told(posterior)}.")
    if not isinstance(task, AbstractTask):
        raise ValueError(f"A task of steppe is needed, got {told(task)}.")
    check_keys("tasks", tasks)
    check_settings(steps=steps, seed=seed, batch=batch, repeats=True, say=say)
    whole("pairs", pairs, least=1, most=TASKS)
    if not isinstance(trained_prior, bool):
        raise ValueError(f"trained_prior must be True or False, got {told(trained_prior)}.")
    n = len(tasks)
    wanted = [
        *standard_claims(steps, tolerances, (), at, "first_hit"),
        *several("claims", claims),
    ]
    check_number_of_claims(wanted)
    if wrong := [claim for claim in wanted if not claim.binary]:
        raise ValueError(
            f"A PAC-Bayes bound is of claims that a task meets or not, {wrong[0]} is none; give "
            "tolerances."
        )
    finite = isinstance(posterior, Finite)
    planned = plan(wanted, delta=delta, n=n if finite else pairs)
    check_share(planned.items[0].delta / 2, [])
    _, metric_told = reading(task, metric, split)
    check_claims(wanted, steps, metric_told.signed)
    check_size(wanted, planned.n, steps)
    pac_bayes.budget(0.0, n, delta)  # refuses too few tasks before anything runs
    if finite:
        return _finite(posterior, task, tasks, planned, steps, metric, split, seed, name)
    rounded, places = posterior.on_grid() if trained_prior else (posterior, [])
    divergence = rounded.exact_divergence()
    run = Pairs(task, rounded, tasks, metric=metric, split=split, name=name)
    check_told(run)
    halved = Plan(
        tuple(dataclasses.replace(item, delta=item.delta / 2) for item in planned.items),
        planned.joint_delta,
        pairs,
    )
    seen = gather(run, halved, seed, steps, batch, True, say)
    entries = []
    for item, values in zip(halved.items, seen.values, strict=True):
        calibrated = bounds.clopper_pearson(int(values.sum()), pairs, item.delta)
        budget = pac_bayes.budget(divergence, n, item.delta, places)
        entries.append(
            randomised(
                entry(item, values, run.metric.name, steps), item, calibrated, budget, run, steps
            )
        )
    about = {
        "kind": "gaussian",
        "tasks": n,
        "divergence": divergence,
        "grid": {"b": pac_bayes.B, "c": pac_bayes.C, "places": places},
        "weights": digest(numbers(rounded)),
    }
    return _certificate(run, entries, halved, seen, steps, seed, about)


def randomised(
    on_tasks: dict[str, Any],
    item: Item,
    calibrated: float,
    budget: float,
    run: AbstractRun,
    steps: int,
) -> dict[str, Any]:
    """The entry of a claim about future tasks, from that of the claim about the N tasks.

    - `on_tasks`: the entry about the N tasks
    - `item`: the claim and its share of δ
    - `calibrated`: bound of the risk on the N tasks, in [0, 1]
    - `budget`: B of the PAC-Bayes bound, in nats
    - `run`: what was run
    - `steps`: iterations of each run, K
    """
    bound = pac_bayes.risk_bound(calibrated, budget)
    return on_tasks | {
        "method": "pac_bayes",
        "on_tasks": calibrated,
        "budget": budget,
        "bound": bound,
        "statement": item.claim.statement(bound, run.metric.name, steps),
    }


def _finite(
    posterior: Finite,
    task: AbstractTask,
    tasks: Key,
    planned: Plan,
    steps: int,
    metric: str | Measure,
    split: Split,
    seed: int,
    name: str,
) -> Certificate:
    """Every member on every task: R̂(q) is a sum."""
    n, prior = len(tasks), np.array(posterior.prior)
    runs = [
        Episodes(task, opt, tasks=tasks, metric=metric, split=split, name=name or "posterior")
        for opt in posterior.members
    ]
    check_told(runs[0])
    seen = [gather(run, planned, seed, steps, 256, True, lambda text: None) for run in runs]
    risks = np.array([[values.mean() for values in s.values] for s in seen])  # (members, claims)
    share = planned.items[0].delta
    q, divergence = pac_bayes.gibbs(risks.mean(axis=1), prior, n, share)
    entries = []
    for c, item in enumerate(planned.items):
        empirical = min(1.0, float(q @ risks[:, c]))
        budget = pac_bayes.budget(divergence, n, item.delta)
        failures = [int(s.values[c].sum()) for s in seen]
        made = entry(item, seen[0].values[c], runs[0].metric.name, steps)
        made["evidence"] = {"failures_of_members": failures}
        entries.append(randomised(made, item, empirical, budget, runs[0], steps))
    about = {
        "kind": "finite",
        "tasks": n,
        "divergence": divergence,
        "prior": prior.tolist(),
        "posterior": q.tolist(),
    }
    return _certificate(runs[0], entries, planned, seen[int(q.argmax())], steps, seed, about)


def _certificate(
    run: AbstractRun,
    entries: list[dict[str, Any]],
    planned: Plan,
    seen: Outcome,
    steps: int,
    seed: int,
    posterior: dict[str, Any],
) -> Certificate:
    return write_down(
        run,
        planned,
        seen,
        entries,
        seed=seed,
        steps=steps,
        kind="pac_bayes",
        simultaneous="grid",
        candidates=1,
        stage=None,
        repeats=True,
        posterior=posterior,
    )
