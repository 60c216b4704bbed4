"""The solvers of the study: by hand, trained layer by layer, and model-free ones."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.random as jr
import numpy as np

from ...core.optimizer import AbstractOptimizer
from ...estimators.bptt import BPTT
from ...evaluation.relative import Minima, minima, relative_losses
from ...objectives.trajectory import Trajectory
from ...optimizers.classic.from_optax import FromOptax
from ...optimizers.classic.proximal import FISTA, ISTA
from ...optimizers.unrolled.base import AbstractUnrolled, larger_square, matrix_of
from ...optimizers.unrolled.coupled import ALISTA
from ...optimizers.unrolled.lista import LISTA
from ...optimizers.unrolled.step_lista import StepLISTA
from ...tasks.inverse.recovery import SparseRecovery
from ...train.adapt import Adapter
from ...train.layerwise import fit_layerwise, layer_by_layer
from ...zoo import load
from ..math_l2o import methods as meta
from .settings import LassoSizes

WEIGHT = 0.005
STAGE_RATES = (1.0, 0.4, 0.1)  # of the stages of a layer; older layers move as new ones do
RATES = (1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3)  # of Adam
MORE_RATES = (1e-4, 3e-4, *RATES, 1.0)  # of those that came later
TUNED_ON = 64  # problems
SHIPPED, ADAPTATION = "rnnprop-v1", 20  # the optimizer that is adapted, and updates of it

Make = Callable[[SparseRecovery, LassoSizes, Any, int], AbstractOptimizer]


def network(start: Callable[[SparseRecovery, int], AbstractUnrolled]) -> Make:
    """Trained layer by layer, by the objective after the newest layer."""

    def make(task: SparseRecovery, sizes: LassoSizes, key, seed: int) -> AbstractOptimizer:
        opt, _ = fit_layerwise(
            task,
            start(task, sizes.layers),
            key=key,
            objective=Trajectory("last", "identity"),
            stages=layer_by_layer(sizes.layers, sizes.stages, STAGE_RATES),
            decay=1.0,
        )
        return opt

    return make


def by_formula(task: SparseRecovery, layers: int) -> ALISTA:
    """ALISTA that begins with steps of 1 and the threshold of the objective."""
    square = larger_square(np.asarray(matrix_of(task, "ALISTA", jr.key(0)), np.float64))
    return ALISTA.from_task(task, layers=layers, threshold=WEIGHT * square, p=0.0)


def tuned(name: str, rates: Sequence[float], **settings: Any) -> Make:
    """On a subgradient, with the rate of the least objective after the last iteration."""

    def make(task: SparseRecovery, sizes: LassoSizes, key, seed: int) -> AbstractOptimizer:
        best, least = FromOptax(name, learning_rate=rates[0], **settings), np.inf
        known = problems(sizes.rows[0], seed, key, TUNED_ON)
        for rate in rates:
            tried = FromOptax(name, learning_rate=rate, **settings)
            value = float(relative_losses(tried, known, (sizes.steps,))[-1])
            if value < least:
                best, least = tried, value
        return best

    return make


def meta_trained(name: str) -> Make:
    """Meta-trained on problems of the same A, as in the study of Math-L2O."""
    return lambda task, sizes, key, seed: meta.trained(name, task, sizes.updates, seed)[0]


def adapted(task: SparseRecovery, sizes: LassoSizes, key, seed: int) -> AbstractOptimizer:
    """A shipped optimizer, trained on networks, after a few meta-steps on these problems."""
    estimator = BPTT(meta.LANES, meta.WINDOW, meta.HORIZON, stagger=False, together=meta.LANES)
    adapter = Adapter(estimator, ADAPTATION)
    return adapter(task, load(SHIPPED), meta.OBJECTIVE, key=key)[0]


METHODS: Mapping[str, Make] = {
    "ISTA": lambda *_: ISTA(),
    "FISTA": lambda *_: FISTA(),
    "FISTA, restart": lambda *_: FISTA(restart=True),
    "ISTA, 1/‖A‖_F²": lambda *_: ISTA(rate="frobenius"),
    "FISTA, 1/‖A‖_F²": lambda *_: FISTA(rate="frobenius"),
    "Adam": tuned("adam", RATES),
    "RMSProp": tuned("rmsprop", MORE_RATES, decay=0.9),
    "GD": tuned("sgd", MORE_RATES),
    "StepLISTA": network(lambda task, layers: StepLISTA.from_task(task, layers=layers)),
    "LISTA": network(lambda task, n: LISTA.from_task(task, layers=n, threshold=WEIGHT)),
    "ALISTA": network(by_formula),
    "RNNProp": meta_trained("rnnprop"),
    "DM": meta_trained("dm"),
    "Math-L2O": meta_trained("pa"),
    f"{SHIPPED}, adapted": adapted,
}
UNROLLED = ("StepLISTA", "LISTA", "ALISTA")
META = ("RNNProp", "DM", "Math-L2O")
LEARNED = (*UNROLLED, *META, f"{SHIPPED}, adapted")


def made(method: str, rows: int, seed: int, sizes: LassoSizes, key) -> AbstractOptimizer:
    """The solver that is ready; a method that is none of the table is loaded, see `steppe.load`."""
    if method not in METHODS:
        return load(method)
    return METHODS[method](family(rows, seed), sizes, key, seed)


@functools.cache
def family(rows: int, seed: int) -> SparseRecovery:
    """The problems of one matrix."""
    return SparseRecovery(rows=rows, n=2 * rows, weight=WEIGHT, seed=seed)


_known: dict[tuple, Minima] = {}  # by the last few: a worker meets the same for every method


def problems(rows: int, seed: int, key, count: int) -> Minima:
    """Problems with their minima, which are worked out once for all methods of a worker."""
    name = rows, seed, count, tuple(np.asarray(jr.key_data(key)).tolist())
    if name not in _known:
        while len(_known) >= 8:
            _known.pop(next(iter(_known)))
        _known[name] = minima(family(rows, seed), jr.split(key, count))
    return _known[name]
