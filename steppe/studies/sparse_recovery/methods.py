"""The solvers of the study: how each is made for a matrix, tuned or trained, and run."""

import dataclasses
import functools
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PyTree

from ...core.optimizer import AbstractOptimizer
from ...core.regularizer import L1
from ...core.rollout import episodes
from ...core.task import AbstractFormula, AbstractTask
from ...core.types import Scalar
from ...evaluation.recovery import Recovery, decibels, recovery
from ...evaluation.rivals import omp
from ...evaluation.search import search
from ...optimizers.classic.amp import AMP
from ...optimizers.classic.proximal import FISTA, ISTA
from ...optimizers.unrolled.base import AbstractUnrolled, floats
from ...optimizers.unrolled.coupled import ALISTA, LISTACP
from ...optimizers.unrolled.glista import GLISTA
from ...optimizers.unrolled.hyperlista import HyperLISTA
from ...optimizers.unrolled.lamp import LAMP
from ...optimizers.unrolled.lista import LFISTA, LISTA
from ...optimizers.unrolled.na_alista import NAALISTA
from ...optimizers.unrolled.step_lista import StepLISTA
from ...optimizers.unrolled.tista import TISTA
from ...tasks.inverse.recovery import SparseRecovery
from ...train.layerwise import fit_layerwise, layer_by_layer
from ..cost import TOGETHER

WEIGHTS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)  # of the penalty, for ISTA and FISTA
THRESHOLDS = (0.9, 1.0, 1.1402, 1.3, 1.5)  # of AMP
RATES, DECAY = (1.0, 0.4, 0.1), 1.0  # of the stages of a layer: older layers move as new ones do
EPISODES = {"LISTA": 2}  # times as many: its full matrices fit the noise of fewer
TUNED_ON = 128  # validation problems
OMP_PROBLEMS = 256
TRAIN, TUNE, TEST = range(3)  # streams of keys


@dataclasses.dataclass(frozen=True)
class Panel:
    """A panel: its problems, and how long networks are trained.

    - `task`: arguments of `SparseRecovery`
    - `layers`: of networks, and steps of all others
    - `stages`: meta-steps of the stages of a layer
    - `episodes`: fresh problems of a meta-step
    """

    task: Mapping[str, Any]
    layers: int
    stages: Sequence[int]
    episodes: int

    def make(self, seed: int, **changed: Any) -> SparseRecovery:
        """The family of problems whose matrix is drawn from the seed."""
        return SparseRecovery(**{**self.task, "seed": seed, **changed})

    @property
    def noise(self) -> float:
        """Variance of the noise of a measurement: a column of A has length 1."""
        task, snr = self.task, self.task["snr"]
        signal = task["density"] * task["n"] / task["rows"]
        return 0.0 if snr is None else signal * 10 ** (-snr / 10)


class Made(NamedTuple):
    """A solver that is ready, and the family that it is run on: weights of the penalty differ."""

    opt: AbstractOptimizer
    task: AbstractTask
    settings: dict[str, float]


Make = Callable[[Panel, int, jax.Array], Made]


def trained(kind: type[AbstractUnrolled], **options: Any) -> Make:
    """Layer by layer, by the distance to the truth."""

    def make(panel: Panel, seed: int, key: jax.Array) -> Made:
        task = panel.make(seed)
        own = {name: f(panel) if callable(f) else f for name, f in options.items()}
        if "key" in inspect.signature(kind).parameters:
            own["key"] = jr.fold_in(key, 1)
        network = kind.from_task(task, layers=panel.layers, **own)
        stages = layer_by_layer(panel.layers, panel.stages, RATES)
        size = {"decay": DECAY, "episodes": panel.episodes}
        opt, _ = fit_layerwise(task, network, key=key, stages=stages, **size)
        return Made(opt, task, {})

    return make


def searched(start: Callable[[SparseRecovery, int], AbstractOptimizer], grid: Callable) -> Make:
    """A few numbers of the solver itself, by trying all of a grid."""

    def make(panel: Panel, seed: int, key: jax.Array) -> Made:
        task = panel.make(seed)
        opt = start(task, panel.layers)
        best, _ = search(task, opt, grid(opt), horizon=panel.layers, key=key, problems=TUNED_ON)
        return Made(best, task, {name: float(getattr(best, name)) for name in grid(opt)})

    return make


class Weighted(AbstractFormula):
    """The same problems with another weight of the penalty, an array: all share one program."""

    task: SparseRecovery
    weight: Scalar

    def sample(self, key):
        return self.task.sample(key)

    def init(self, instance, key):
        return self.task.init(instance, key)

    def loss(self, instance, batch, key):
        loss = self.task.loss(instance, batch, key)
        return dataclasses.replace(loss, regularizer=L1(self.weight))

    def target(self, instance):
        return None

    def metrics(self, params, instance, batch, key):
        return self.task.metrics(params, instance, batch, key)


def weighted(kind: type[ISTA] | type[FISTA]) -> Make:
    """The weight of the penalty with the least mean error after the last step."""

    def make(panel: Panel, seed: int, key: jax.Array) -> Made:
        opt, plain = kind(), panel.make(seed)
        tasks = [Weighted(plain, jnp.asarray(weight)) for weight in WEIGHTS]
        found = [after(task, opt, panel.layers, TUNED_ON, key)[-1].mean_db for task in tasks]
        best = int(np.argmin([np.inf if error is None else error for error in found]))
        return Made(opt, tasks[best], {"weight": WEIGHTS[best]})

    return make


METHODS: dict[str, Make] = {
    "ISTA": weighted(ISTA),
    "FISTA": weighted(FISTA),
    "AMP": searched(lambda task, layers: AMP(), lambda opt: {"threshold": THRESHOLDS}),
    "StepLISTA": trained(StepLISTA),
    "LISTA": trained(LISTA),
    "LISTA-CP": trained(LISTACP, weights="A"),
    "LISTA-CPSS": trained(LISTACP, weights="A", p=1.2),
    "LFISTA": trained(LFISTA),
    "LAMP": trained(LAMP),
    "GLISTA": trained(GLISTA, weights="A", gate="none", overshoot=1.0),  # for little noise
    "ALISTA": trained(ALISTA),
    "NA-ALISTA": trained(NAALISTA),
    "TISTA": trained(TISTA, noise=lambda panel: panel.noise),
    "HyperLISTA": searched(
        lambda task, layers: HyperLISTA.from_task(task, layers=layers),
        lambda opt: opt.candidates(),
    ),
}
OMP = "OMP"
CLASSICAL = ("ISTA", "FISTA", "AMP", OMP)
NUMBERS = ("ALISTA", "TISTA", "HyperLISTA")  # few are trained, however large A is
FEW = ("LISTA", "LISTA-CP", "LISTA-CPSS", "LAMP", "ALISTA", "TISTA", "HyperLISTA")
OF_PANEL = {
    "noiseless": (*METHODS, OMP),
    "noisy": ("FISTA", "AMP", OMP, *FEW),
    "correlated": ("FISTA", "AMP", OMP, "LISTA", "LAMP", "ALISTA", "TISTA", "HyperLISTA"),
    "conditioned": (
        "FISTA", "AMP", OMP, "LISTA", "LISTA-CP", "LISTA-CPSS", "LAMP", "ALISTA", "TISTA",
        "HyperLISTA",
    ),
    "large": ("FISTA", "AMP", OMP, *NUMBERS),
    "large-noisy": ("FISTA", "AMP", OMP, "ALISTA", "HyperLISTA"),
}  # fmt: skip


def after(
    task: AbstractTask, opt: AbstractOptimizer, steps: int, problems: int, key: jax.Array
) -> list[Recovery]:
    """Errors after 0, 1, … steps, of runs in float64 on the same matrix."""
    x, truth = runs(task, opt, steps, problems, key)
    return [recovery(x[:, k], truth) for k in range(steps + 1)]


def band(x: np.ndarray, truth: np.ndarray) -> dict[str, float | None]:
    """The 10 % and the 90 % quantile of the errors of vectors, one not finite being the largest."""
    errors = np.nan_to_num(decibels(x, truth), nan=np.inf, posinf=np.inf)
    ends = np.quantile(errors, (0.1, 0.9), method="nearest")
    told = (float(end) if np.isfinite(end) else None for end in ends)
    return dict(zip(("low_db", "high_db"), told, strict=True))


def runs(
    task: AbstractTask, opt: AbstractOptimizer, steps: int, problems: int, key: jax.Array
) -> tuple[np.ndarray, np.ndarray]:
    """x after each step, (problems, steps + 1, n), and the truth, (problems, n); in float64."""
    with jax.enable_x64(True):
        task, opt = floats((task, opt), jnp.float64)
        return jax.device_get(_runs(task, opt, jr.split(key, problems), steps))


@eqx.filter_jit
def _runs(task: AbstractTask, opt: AbstractOptimizer, keys: jax.Array, steps: int) -> PyTree:
    at = range(steps + 1)
    look = lambda episode, _: (episode.params, episode.instance.sparse)
    x, truth = episodes(task, opt, keys, steps, look, at=at, batch_size=TOGETHER).looks
    return x, truth[:, 0]


def pursued(
    task: SparseRecovery, panel: Panel, problems: int, key: jax.Array
) -> tuple[Recovery, float, int]:
    """OMP on some of the test problems: errors, processor seconds a problem, how many."""
    count = min(problems, OMP_PROBLEMS)
    with jax.enable_x64(True):
        wide = floats(task, jnp.float64)
        drawn = jax.device_get(jax.vmap(wide.sample)(jr.split(key, problems)[:count]))
        loss = wide.loss(wide.sample(key), (), key)
    A = np.asarray(loss.smooth.A)
    tolerance = 1e-6 if (snr := panel.task["snr"]) is None else 10 ** (-snr / 20)
    solve = functools.partial(omp, A, tolerance=tolerance)
    began = time.process_time()
    x = np.stack([solve(b).x for b in drawn.b])
    return recovery(x, drawn.sparse), (time.process_time() - began) / count, count
