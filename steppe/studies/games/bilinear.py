"""M4: how many gradients a bilinear game takes, until a thousandth of the first one is left.

    min over x, max over y of xᵀAy,   A = N(0, 1)/√d, d unknowns for each player

Of the size 1/√d singular values lie between 0 and 2 for every d, so that rates can be carried from
one to the next. The learned rules are trained at d = 5 alone. Every gradient counts that a rule or
its guard takes. Decided before the run: the law, the starts N(0, 1), the accuracy, and that games
given up count with as many gradients as they were given.
"""

import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float

from ...core.loss import Saddle
from ...core.optimizer import AbstractOptimizer
from ...core.rollout import episodes
from ...core.task import AbstractFormula
from ...core.types import Key, Scalar
from ...estimators.whole import Whole
from ...objectives.minimax import Merit
from ...optimizers.classic.games import Anchored, Extragradient, OptimisticGDA
from ...optimizers.guarded import Guarded
from ...optimizers.learned.extragradient import LearnedExtragradient
from ...tasks.games.matrix import MatrixGame
from ...train.loop import meta_train
from ...train.validate import Validation
from .. import cost
from .methods import TRAIN, TUNE, trained

LEFT = 1e-3  # of the gradient at the start
TRAINED_AT = 5
HORIZON = 300  # steps of an episode of training
# Rates by quarters of an octave around 1/‖A‖ ≈ ½; finer than the grid of the other parts, since
# what is counted is inversely proportional to their square.
RATES = tuple(float(f"{0.125 * 2 ** (k / 4):.3g}") for k in range(2, 11))
TEST = 3  # stream of keys: games that were never met before the record
TUNED_ON = 5  # one game for so many of the test
RIVALS: dict[str, Callable[[float | Scalar], AbstractOptimizer]] = {
    "extragradient": Extragradient,
    "optimistic GDA": OptimisticGDA,
    "anchored, two gradients": lambda lr: Anchored(lr, extra=True),
}
Counts = Float[np.ndarray, " games"]


class Bilinear(AbstractFormula):
    """`MatrixGame` of the normal law with A/√n in place of A."""

    game: MatrixGame

    def __init__(self, n: int):
        self.game = MatrixGame(n)

    def sample(self, key: Key) -> Array:
        return self.game.sample(key) / self.game.n**0.5

    def init(self, instance: Array, key: Key) -> dict[str, Array]:
        return self.game.init(instance, key)

    def loss(self, instance: Array, batch: tuple[()], key: Key) -> Saddle:
        return self.game.loss(instance, batch, key)

    def target(self, instance: Array) -> dict[str, Array]:
        return self.game.target(instance)

    def metrics(self, params, instance: Array, batch: tuple[()], key: Key) -> dict[str, Scalar]:
        return self.game.metrics(params, instance, batch, key)


def learned(updates: int, key: Key) -> AbstractOptimizer:
    """The ten numbers after a training at d = 5, by how soon episodes come as far as is asked."""
    rate = optax.cosine_decay_schedule(0.05, updates)
    opt, _ = meta_train(
        Bilinear(TRAINED_AT),
        LearnedExtragradient(),
        estimator=Whole(64, HORIZON, second_order=True),
        objective=Merit("uniform", "log", floor=LEFT**2 / 10),
        meta_tx=optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate)),
        steps=updates,
        validation=Validation(max(1, updates // 20), HORIZON, 128, "objective", HORIZON),
        key=key,
        log_every=updates,
    )
    return opt


def gradients(
    opt: AbstractOptimizer, d: int, games: int, most: int, key: Key
) -> tuple[Counts, Counts]:
    """Gradients until so little is left of the first one, game by game, and proposals rejected.

    - `most`: after which a game is given up, and counts with that many
    """
    each = opt.gradients_per_step
    if each is None:
        raise ValueError(f"{type(opt).__name__} takes no fixed number of gradients a step.")
    steps, rejections = _steps(Bilinear(d), opt, jr.split(key, games), most // each)
    return each * np.asarray(steps, float), np.asarray(rejections, float)


@eqx.filter_jit
def _steps(task: Bilinear, opt: AbstractOptimizer, keys: Key, most: int) -> tuple[Array, Array]:
    left = lambda step: step.problem.merit(step.before.params)
    look = lambda end, _: getattr(end.opt_state, "rejections", jnp.zeros((), jnp.int32))
    rejections, merits = episodes(task, opt, keys, most, look, observe=left, batch_size=len(keys))
    there = merits <= LEFT * merits[:, :1]
    return jnp.where(jnp.any(there, 1), jnp.argmax(there, 1), most), rejections


def tuned(name: str, d: int, games: int, most: int, key: Key) -> tuple[AbstractOptimizer, float]:
    """A rival with the rate of the fewest gradients on other games, median and then mean."""
    tried = []
    for rate in RATES:
        counts, _ = gradients(RIVALS[name](rate), d, games, most, key)
        tried.append((float(np.median(counts)), float(np.mean(counts)), rate))
    *_, rate = min(tried)
    return RIVALS[name](rate), rate


def least(d: int, games: int, key: Key) -> Counts:
    """Gradients that the best of all methods of first order takes, game by game.

    Of all points that can be reached by steps along gradients seen, the one of least ‖F‖ (GMRES),
    in float64. One gradient a step, and one to see that it has arrived.
    """
    task, counts = Bilinear(d), []
    for one in jr.split(key, games):
        episode = jr.split(one, 4)  # as `core.episode.begin` splits it
        A = np.asarray(task.sample(episode[0]), float)
        start = task.init(task.sample(episode[0]), episode[1])
        z = np.concatenate([np.asarray(start[player], float) for player in ("min", "max")])
        M = np.block([[np.zeros((d, d)), A], [-A.T, np.zeros((d, d))]])
        counts.append(1 + _krylov(M, M @ z))
    return np.array(counts, float)


def _krylov(M: np.ndarray, r: np.ndarray) -> int:
    """Steps until min over p of ‖r + M p‖ is small, p in the span of r, Mr, …, M^(k−1) r."""
    size, basis = np.linalg.norm(r), np.zeros((len(r), 0))
    new = r / size
    for k in range(1, len(r) + 1):
        basis = np.column_stack([basis, new])
        along, *_ = np.linalg.lstsq(M @ basis, -r, rcond=None)
        if np.linalg.norm(r + M @ basis @ along) <= LEFT * size:
            return k
        new = M @ new
        for _ in range(2):
            new = new - basis @ (basis.T @ new)
        new = new / max(np.linalg.norm(new), 1e-300)
    return len(r)


def counted(cell: dict[str, Any], key: Key) -> list[dict[str, Any]]:
    """The records of one dimension; the Twin's, which takes longest to train, of all at once."""
    test, tune = jr.fold_in(key, TEST), jr.fold_in(key, TUNE)
    if cell["part"] == "twin":
        return of_twin(cell, key)
    d, games, most = cell["d"], cell["games"], cell["most"]
    found = []
    for name in RIVALS:
        began = time.process_time()
        opt, rate = tuned(name, d, max(2, games // TUNED_ON), most, tune)
        training = time.process_time() - began
        found.append(record(name, opt, d, games, most, test, training=training, lr=rate))
    began = time.process_time()
    ours = learned(cell["updates"], jr.fold_in(key, TRAIN))
    training = time.process_time() - began
    guard, _ = tuned("extragradient", TRAINED_AT, max(2, games // TUNED_ON), most, tune)
    for name, opt in (
        ("learned extragradient", ours),
        ("learned extragradient, guarded", Guarded(ours, guard, "merit")),
    ):
        found.append(record(name, opt, d, games, most, test, training=training))
    bound = least(d, games, test)
    return [*found, summary("GMRES, the least there can be", d, bound, None, 0, 0)]


def of_twin(cell: dict[str, Any], key: Key) -> list[dict[str, Any]]:
    """The LSTMs, trained at d = 5 too, guarded and not, at every dimension."""
    sizes = {name: cell[name] for name in ("hidden", "epochs", "episodes")}
    opt, training = trained(Bilinear(TRAINED_AT), "Twin", sizes, jr.fold_in(key, TRAIN))
    tune, found = jr.fold_in(key, TUNE), []
    games, most = cell["games"], cell["twin_most"]
    guard, _ = tuned("extragradient", TRAINED_AT, max(2, games // TUNED_ON), cell["most"], tune)
    for d in cell["dimensions"]:
        for name, rule in (("Twin", opt), ("Twin, guarded", Guarded(opt, guard, "merit"))):
            test = jr.fold_in(key, TEST)
            found.append(record(name, rule, d, games, most, test, training=training))
    return found


def record(name: str, opt, d: int, games: int, most: int, key: Key, **more) -> dict[str, Any]:
    counts, rejections = gradients(opt, d, games, most, key)
    share = float(np.mean(rejections)) * opt.gradients_per_step / most
    parameters = cost.numbers(opt) if "lr" not in more else 1
    found = summary(name, d, counts, opt.gradients_per_step, most, parameters)
    return found | {"rejected": share} | more


def summary(
    name: str, d: int, counts: Counts, each: int | None, most: int, parameters: int
) -> dict[str, Any]:
    """A record: gradients over the games, and how many were given up."""
    low, middle, high = np.quantile(counts, (0.1, 0.5, 0.9))
    return {
        "method": name,
        "d": d,
        "median": float(middle),
        "low": float(low),
        "high": float(high),
        "mean": float(np.mean(counts)),
        "counts": [float(x) for x in counts],
        "given_up": int(np.sum(counts >= most - (each or 1))) if most else 0,
        "gradients": each,
        "parameters": parameters,
        "games": len(counts),
    }
