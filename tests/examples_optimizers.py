"""Small examples of every final optimizer class, for `contracts/test_optimizers.py`.

A new optimizer enters with one line: a name for test reports, and how to make it.
"""

from collections.abc import Callable

import jax.numpy as jnp
import jax.random as jr

from steppe.core.optimizer import AbstractOptimizer
from steppe.estimators.imitation import Shadow
from steppe.estimators.replay import Recorded
from steppe.optimizers.adaptable import Adaptable
from steppe.optimizers.classic.amp import AMP
from steppe.optimizers.classic.descent_ascent import DescentAscent
from steppe.optimizers.classic.entropy_sgd import EntropySGD
from steppe.optimizers.classic.from_evosax import FromEvosax
from steppe.optimizers.classic.from_optax import FromOptax, adam, momentum
from steppe.optimizers.classic.games import GDA, Anchored, Extragradient, OptimisticGDA
from steppe.optimizers.classic.proximal import FISTA, ISTA
from steppe.optimizers.classic.pso import PSO
from steppe.optimizers.classic.resolvent import Halpern, ProximalPoint
from steppe.optimizers.classic.sam import SAM
from steppe.optimizers.classic.schedule_free import schedule_free_adamw
from steppe.optimizers.guarded import Guarded
from steppe.optimizers.learned.dm import DM
from steppe.optimizers.learned.extragradient import LearnedExtragradient
from steppe.optimizers.learned.formation import Formation
from steppe.optimizers.learned.go_math_l2o import GoMathL2O
from steppe.optimizers.learned.gru import CoordinatewiseGRU
from steppe.optimizers.learned.learned_adam import LearnedAdam, LearningRateSchedule
from steppe.optimizers.learned.math_l2o import MathL2O
from steppe.optimizers.learned.rnnprop import RNNProp
from steppe.optimizers.learned.scale import Scale
from steppe.optimizers.learned.small_mlp import SmallMLP
from steppe.optimizers.learned.step_fista import StepFISTA
from steppe.optimizers.learned.swarm import Swarm
from steppe.optimizers.learned.symbolic import Symbolic
from steppe.optimizers.learned.twin import Twin
from steppe.optimizers.scheduled import Scheduled
from steppe.optimizers.self_adapting import SelfAdapting
from steppe.optimizers.sparse_updates import SparseUpdates
from steppe.optimizers.unrolled.coupled import ALISTA, LISTACP, TiLISTA
from steppe.optimizers.unrolled.glista import GLISTA
from steppe.optimizers.unrolled.hyperlista import HyperLISTA
from steppe.optimizers.unrolled.lamp import LAMP
from steppe.optimizers.unrolled.lista import LFISTA, LISTA
from steppe.optimizers.unrolled.na_alista import NAALISTA
from steppe.optimizers.unrolled.step_lista import StepLISTA
from steppe.optimizers.unrolled.tista import TISTA
from steppe.optimizers.watchdog import Watchdog
from steppe.optimizers.weight_decay import WeightDecay
from steppe.prompt.apart import Apart
from steppe.runs.probe import WithReference

# Of the networks for one matrix. The threshold is small, so that every unknown moves.
MATRIX = jnp.cos(jnp.arange(24.0) ** 2).reshape(4, 6)
NETWORK = {"layers": 2, "threshold": 1e-3}
SPARING = {"p": 20.0, "p_max": 30.0}

OPTIMIZERS: dict[str, Callable[[], AbstractOptimizer]] = {
    "dm": lambda: DM(hidden=(2, 2), key=jr.key(0)),
    "dm-plain": lambda: DM(hidden=(2,), preprocess="none", scale=1.0, key=jr.key(1)),
    "rnnprop": lambda: RNNProp(hidden=(2,), features=2, key=jr.key(0)),
    "dm-timed": lambda: DM(
        hidden=(2,), time_scales=(2.0,), horizon=9, weight_decay=0.1, key=jr.key(2)
    ),
    "rnnprop-timed": lambda: RNNProp(
        (2,), 2, scale=0.1, time_scales=(1.0, 30.0), horizon=2, weight_decay=0.2, key=jr.key(2)
    ),
    "l2o-scale": lambda: Scale((3, 2, 2), 2, (0.01, 0.1), key=jr.key(0)),
    "l2o-scale-attention": lambda: Scale((2,), 1, (0.01, 0.1), attention=True, key=jr.key(0)),
    "small-mlp": lambda: SmallMLP((3, 2), (0.5, 0.9), 0.9, (2.0,), 0.1, key=jr.key(0)),
    "small-mlp-decayed": lambda: SmallMLP((2, 2), weight_decay=0.1, key=jr.key(1)),
    "math-l2o": lambda: MathL2O(("p", "a", "b", "b1", "b2"), hidden=(2,), live=True, key=jr.key(0)),
    "math-l2o-monotone": lambda: MathL2O(("p",), (2,), monotone=True, live=True, key=jr.key(0)),
    "lista": lambda: LISTA.from_dictionary(MATRIX, **NETWORK),
    "lista-tied": lambda: LISTA.from_dictionary(MATRIX, tied=True, **NETWORK),
    "lfista": lambda: LFISTA.from_dictionary(MATRIX, **NETWORK | {"layers": 3}),
    "step-fista": lambda: StepFISTA(layers=2),
    "step-lista": lambda: StepLISTA(layers=2),
    "lista-cp": lambda: LISTACP.from_dictionary(MATRIX, **NETWORK),
    "lista-cpss": lambda: LISTACP.from_dictionary(MATRIX, **NETWORK, **SPARING),
    "tilista": lambda: TiLISTA.from_dictionary(MATRIX, **NETWORK, **SPARING),
    "alista": lambda: ALISTA.from_dictionary(MATRIX, **NETWORK, **SPARING),
    "lamp": lambda: LAMP.from_dictionary(MATRIX, layers=2, alpha=1e-3),
    "tista": lambda: TISTA.from_dictionary(MATRIX, layers=2, density=0.5),
    "tista-all": lambda: TISTA.from_dictionary(MATRIX, layers=2, density=0.5, train="all"),
    "glista": lambda: GLISTA.from_dictionary(MATRIX, **NETWORK, **SPARING, gate="exp", gain=0.1),
    "na-alista": lambda: NAALISTA.from_dictionary(
        MATRIX, **NETWORK, **SPARING, hidden=2, key=jr.key(0)
    ),
    "hyperlista": lambda: HyperLISTA.from_dictionary(MATRIX, layers=2, c1=1e-3, c2=0.01, c3=0.2),
    "go-math-l2o": lambda: GoMathL2O(("r", "q", "b", "b1", "b2"), (2,), key=jr.key(0)),
    "gru": lambda: CoordinatewiseGRU(hidden=(2,), lr=0.1, key=jr.key(0)),
    "swarm": lambda: Swarm(hidden=(2,), units=3.0, width=3, key=jr.key(0)),
    "swarm-alone": lambda: Swarm(
        (2,), ("gradient", "momentum"), between=False, beyond=True, key=jr.key(0)
    ),
    "formation": lambda: Formation(2.0, knots=3),
    "twin": lambda: Twin((2, 2), key=jr.key(0)),
    "learned-extragradient": lambda: LearnedExtragradient(),
    "symbolic": lambda: Symbolic("-0.1 * tanh(1.3 * mn9[2] + gn99) - 0.1 * aq(g[1], abs(m5))"),
    "symbolic-poles": lambda: Symbolic("c0 * g / sqrt(ms9)", (-0.1,)),
    "learned-adam": lambda: LearnedAdam(0.1),
    "learned-schedule": lambda: LearningRateSchedule(2, 0.1),
    "momentum": lambda: momentum(0.1),
    "adam": lambda: adam(0.1),
    "adamw-nesterov": lambda: FromOptax(
        "adamw", learning_rate=0.1, b1=0.9, weight_decay=0.01, nesterov=True
    ),
    "ista": lambda: ISTA(),
    "fista": lambda: FISTA(0.9),
    "fista-restart": lambda: FISTA(restart=True),
    "evosax-les": lambda: FromEvosax("LES", std_init=0.5),
    "pso": lambda: PSO(clamp=2.0, start=0.1),
    "amp": lambda: AMP(0.01),
    "gda": lambda: GDA(0.1),
    "gda-alternating": lambda: GDA(0.1, alternating=True),
    "optimistic-gda": lambda: OptimisticGDA(0.1),
    "extragradient": lambda: Extragradient(0.1),
    "anchored": lambda: Anchored(0.1),
    "anchored-extra": lambda: Anchored(0.1, extra=True),
    "proximal-point": lambda: ProximalPoint(0.1),
    "halpern": lambda: Halpern(0.1, iterations=2),
    "descent-ascent": lambda: DescentAscent(momentum(0.1)),
    "sam": lambda: SAM(momentum(0.1)),
    "sam-adaptive": lambda: SAM(momentum(0.1), 0.5, adaptive=True),
    "schedule-free": lambda: schedule_free_adamw(0.1, weight_decay=0.1),
    "scheduled": lambda: Scheduled(RNNProp(hidden=(2,), features=2, key=jr.key(0)), 0.5, 5),
    "scheduled-forever": lambda: Scheduled(adam(0.1), 2.0),
    "weight-decay": lambda: WeightDecay(momentum(0.1), 0.1),
    "entropy-sgd": lambda: EntropySGD(0.5, 0.3, 3, 0.1, scoping=0.1),
    "watchdog": lambda: Watchdog(RNNProp(hidden=(2,), features=2, key=jr.key(0)), adam(0.1), 2),
    "adaptable": lambda: Adaptable(LearnedAdam(0.1)),
    "self-adapting": lambda: SelfAdapting(RNNProp(hidden=(2,), features=2, key=jr.key(0))),
    "self-adapting-updates": lambda: SelfAdapting(adam(0.1), directions="updates"),
    # All tensors move, so that every coordinate does; those that rest: test_sparse_updates.py.
    "sparse-updates": lambda: SparseUpdates(Scale((3, 2), 2, (0.01, 0.1), key=jr.key(0)), 1.0),
    "guarded": lambda: Guarded(momentum(0.1), adam(0.01)),
    "guarded-by-merit": lambda: Guarded(momentum(0.1), adam(0.01), "merit"),
    "guarded-by-residual": lambda: Guarded(momentum(0.1), ISTA(0.9), "residual"),
    "apart": lambda: Apart(adam(0.1), (0, 2)),
    "recorded": lambda: Recorded(RNNProp(hidden=(2,), features=2, key=jr.key(0))),
    "with-reference": lambda: WithReference(momentum(0.1)),
    "shadow": lambda: Shadow(momentum(0.1), adam(0.1)),
}
