"""Is the PAC-Bayes bound of a formula worth more than that of the network it stands for?

The bound pays KL(Q‖P)/N for what the weights have learned from the N tasks. A formula has a handful
of numbers, its teacher thousands of weights. Five arms, the same N tasks and the same claim, "the
loss is at most TOLERANCE after STEPS steps on a fresh LASSO problem", at confidence 1 − δ:

    formula, from a guess          P around numbers set by hand, Q trained on the N tasks
    formula, of the teacher        P around numbers like its teacher's, Q trained on the N tasks
    network, from a random start   P around weights before any training, Q around the shipped ones
    network, from shipped weights  P around the shipped weights, Q trained on the N tasks
    network, untouched             P = Q around the shipped weights: nothing is learned or paid

No prior knows the N tasks. Q is trained by `pac_bayes.fit` in as many steps. The variance of P is
fixed beforehand, WIDE for formulas, of which a number may double, NARROW for weights; to train
those of nine leaves would cost more than all else. In the third arm they are the best for Q and
paid for, and Q has the width out of SPREADS with the lowest bound; that this choice is not paid for
is to the network's favour.

    steppe reproduce symbolic.certificate --scale small
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array

from ...certificates import pac_bayes
from ...certificates.pac_bayes import Gaussian, around
from ...certificates.randomised import certify_randomised, task_keys
from ...core.optimizer import AbstractOptimizer
from ...core.rollout import rollout
from ...core.task import AbstractTask, draw
from ...core.types import Key, Scalar
from ...evaluation.engines import Row
from ...optimizers.learned.rnnprop import RNNProp
from ...optimizers.learned.symbolic import Symbolic
from ...tasks.synthetic.lasso import Lasso
from ...zoo import load
from ..certificates.penalties import spread
from ..study import (
    Cell,
    Conclusion,
    Record,
    Study,
    Verdict,
    markdown,
    records,
    sentences,
    use_cores,
)
from .sizes import Certificate

TEACHER = "rnnprop-v1"
GUESS = "-0.01 * tanh(2 * mn95)"
LIKE = "-0.02 * tanh(1 * mn95 + 0.4 * gn95)"
ARMS = ("formula, from a guess", "formula, of the teacher", "network, from a random start",
        "network, from shipped weights", "network, untouched")  # fmt: skip
STEPS, TOLERANCE, DELTA = 100, 8.0, 0.01
WIDE = 1.0  # variance of P for θ, the relative change of a formula's number
NARROW = 1e-4  # variance of weights by which no risk has risen (certificates.penalties)
SPREADS = (1e-8, 1e-6, 1e-5, 1e-4, 1e-3)
RATE, NETWORK_RATE, BATCH = 0.02, 1e-3, 16  # of the training of Q; weights take smaller steps


def cells(settings: Certificate) -> Iterator[Cell]:
    sizes = {"fit": settings.fit, "pairs": settings.pairs}
    for tasks in settings.tasks:
        for seed in range(settings.seeds):
            for arm in ARMS:
                yield {"arm": arm, "tasks": tasks, "seed": seed, **sizes}


def family() -> AbstractTask:
    """LASSO problems of ten unknowns and two scales."""
    return Lasso(n=10, l1=0.1, spread=(0.3, 1.0))


def run(cell: Cell) -> dict[str, Any]:
    use_cores()
    task, keys = family(), task_keys(cell["seed"], cell["tasks"])
    key = jr.fold_in(jr.key(1), cell["seed"])
    found = [bound(task, q, keys, cell) for q in posteriors(cell, task, keys, key)]
    return min(found, key=lambda result: result["bound"])


def posteriors(cell: Cell, task: AbstractTask, keys: Key, key: Key) -> Iterator[Gaussian]:
    """The posterior of an arm; several, of which the best counts, where its width is chosen."""
    arm = cell["arm"]
    how = {"steps": cell["fit"], "delta": DELTA, "batch": BATCH, "key": key}
    if arm in ARMS[:2]:
        first = Symbolic(GUESS if arm == ARMS[0] else LIKE)
        q = pac_bayes.fit(around(first, first, apart=True), end(task), keys, lr=RATE, **how)[0]
        yield with_prior(q, WIDE)
        return
    teacher = load(TEACHER)
    assert isinstance(teacher, RNNProp)
    if arm == ARMS[2]:
        sizes = (teacher.hidden, teacher.features, teacher.beta1, teacher.beta2, teacher.scale)
        for s in SPREADS:
            yield spread(teacher, RNNProp(*sizes, teacher.block, key=key), s)[0]
        return
    q = narrow(around(teacher, teacher, apart=True))
    if arm == ARMS[3]:
        fitted = pac_bayes.fit(q, end(task), keys, lr=NETWORK_RATE, **how)[0]
        q = with_prior(fitted, NARROW)
    yield q


def narrow(q: Gaussian) -> Gaussian:
    """Posterior and prior with the variance NARROW."""
    same = jtu.tree_map(lambda m: jnp.full_like(m, math.log(NARROW)), q.mean)
    return with_prior(eqx.tree_at(lambda q: q.log_variance, q, same), NARROW)


def with_prior(q: Gaussian, variance: float) -> Gaussian:
    """The same with the prior's variance set to a number, whatever it was trained to."""
    return eqx.tree_at(lambda q: q.log_prior, q, jnp.full_like(q.log_prior, math.log(variance)))


def end(task: AbstractTask) -> Callable[[AbstractOptimizer, Key], Scalar]:
    """The loss at the end of a run, from an optimizer and the key of a task."""

    def loss(opt: AbstractOptimizer, key: Key) -> Array:
        key_run, key_draw = jr.split(key)
        at = lambda episode: draw(task, episode.instance, key_draw, split="train").loss()(
            episode.params
        )
        return rollout(task, opt, key_run, STEPS, at).looks

    return loss


def bound(task: AbstractTask, posterior: Gaussian, keys: Key, cell: Cell) -> dict[str, Any]:
    """The bound of the risk on fresh problems, and what it is made of."""
    made = certify_randomised(
        posterior, task, keys, steps=STEPS, tolerances=(TOLERANCE,), at=(STEPS,), delta=DELTA,
        pairs=cell["pairs"], seed=cell["seed"], trained_prior=cell["arm"] == ARMS[2],
    )  # fmt: skip
    [claim] = made.claims
    return {
        "weights": sum(leaf.size for leaf in jtu.tree_leaves(posterior.mean)),
        "bound": float(claim["bound"]),
        "on_tasks": float(claim["on_tasks"]),
        "budget": float(claim["budget"]),
        "divergence": float(made.posterior["divergence"]),
    }


def conclude(settings: Certificate, rows: Sequence[Row]) -> Conclusion:
    found = records(rows)
    head = ["tasks", "arm", "weights", "KL, nats", "risk on the N tasks", "bound on fresh ones"]
    lines = [
        [str(n), arm, str(of(found, arm, n)[0]["weights"]), mean(found, arm, n, "divergence"),
         mean(found, arm, n, "on_tasks"), mean(found, arm, n, "bound")]
        for n in settings.tasks for arm in ARMS
    ]  # fmt: skip
    said = verdicts(found)
    text = f"Loss at most {TOLERANCE} after {STEPS} steps; bounds of the risk, δ = {DELTA}, means"
    return Conclusion("\n\n".join([text, markdown(head, lines), sentences(said)]),
                      {"records": found}, said)  # fmt: skip


def of(found: Sequence[Record], arm: str, tasks: int) -> list[Record]:
    return [r for r in found if r["arm"] == arm and r["tasks"] == tasks]


def mean(found: Sequence[Record], arm: str, tasks: int, name: str) -> str:
    values = [r[name] for r in of(found, arm, tasks)]
    return f"{sum(values) / len(values):.3g}"


def verdicts(found: Sequence[Record]) -> list[Verdict]:
    at = {n: {arm: of(found, arm, n) for arm in ARMS} for n in sorted({r["tasks"] for r in found})}
    least = min(at)
    ours = [r["bound"] for r in at[least][ARMS[0]]]
    blind = [r["bound"] for r in at[least][ARMS[2]]]
    pairs = [
        (a["divergence"], b["divergence"])
        for arms in at.values()
        for a, b in zip(arms[ARMS[1]], arms[ARMS[3]], strict=True)
    ]
    return [
        Verdict(
            f"A formula that was set by hand and trained on {least} tasks has a bound below ½",
            max(ours) < 0.5,
            f"the bounds are {', '.join(f'{b:.3f}' for b in ours)}",
        ),
        Verdict(
            f"The bound of the network from a random start is vacuous at {least} tasks, above 0.99",
            min(blind) > 0.99,
            f"the least is {min(blind):.3f}",
        ),
        Verdict(
            "From a start that was learned elsewhere, the formula pays less than the network",
            all(a < b for a, b in pairs),
            "; ".join(f"{a:.2g} against {b:.2g} nats" for a, b in pairs),
        ),
    ]


STUDY = Study(cells, f"{__name__}:run", conclude)
