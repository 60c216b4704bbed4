"""The solvers that are tried on a family, by its structure; each says why where it cannot be.

Learned ones have a `Training` besides, which goes on from where it stopped, so that the better ones
can be trained for longer.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.random as jr

from ..core.optimizer import AbstractOptimizer
from ..core.types import Key
from ..optimizers.classic.amp import AMP
from ..optimizers.classic.proximal import FISTA, ISTA
from ..optimizers.guarded import Guarded
from ..optimizers.learned.math_l2o import MathL2O
from ..optimizers.learned.step_fista import StepFISTA
from ..optimizers.unrolled.base import AbstractUnrolled
from ..optimizers.unrolled.coupled import ALISTA, LISTACP
from ..optimizers.unrolled.hyperlista import HyperLISTA
from ..optimizers.unrolled.lamp import LAMP
from ..optimizers.unrolled.lista import LISTA
from ..optimizers.unrolled.step_lista import StepLISTA
from ..optimizers.unrolled.tista import TISTA
from .family import Family
from .record import Kind
from .training import Layered, Training, Tried, first, windows

LAYERS = 16  # of a network, as published; for recovery as many as iterations are looked at

Maker = Callable[[Family, Key], AbstractOptimizer]
Trainer = Callable[[Family, Any, Key], Training]  # of an optimizer that its candidate makes
Lack = Callable[[Family], str]


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A solver to try.

    - `make`: (family, key) → optimizer
    - `train`: (family, optimizer, key) → its training, None for one made by hand
    - `lacks`: family → what it lacks for this solver, "" if nothing
    - `finish`: from what was trained to what is used: a guard around it, where it could diverge
    """

    name: str
    about: str
    make: Maker
    train: Trainer | None = None
    lacks: Lack = lambda family: ""
    finish: Callable[[AbstractOptimizer], AbstractOptimizer] = lambda opt: opt

    @property
    def kind(self) -> Kind:
        return "by hand" if self.train is None else "learned"


def _for_goal(family: Family, goal: str) -> str:
    return "" if goal in ("", family.goal) else f"It is for {goal}."


def _lacks(family: Family, goal: str, *, shared: bool = True) -> str:
    """The first thing that a sparse solver for this goal lacks."""
    if other := _for_goal(family, goal):
        return other
    if not family.sparse:
        return "It needs ½‖Ax − b‖² with ‖x‖₁."
    return "It needs one A that all problems share." if shared and not family.shared else ""


def _math(name: str, about: str, *, monotone: bool) -> Candidate:
    make = eqx.filter_jit(lambda key: MathL2O(monotone=monotone, key=key))
    lacks = lambda family: _for_goal(family, "objective")
    finish = lambda opt: opt if monotone else Guarded(opt, FISTA(restart=True))
    return Candidate(name, about, lambda family, key: make(key), windows, lacks, finish)


def _network(
    name: str, about: str, kind: type[AbstractUnrolled], goal: str = "", **options: Any
) -> Candidate:
    """An unrolled network, trained layer by layer; for one goal alone if it is named."""

    def make(family: Family, key: Key) -> AbstractOptimizer:
        layers = LAYERS if family.goal == "objective" else family.depth
        return kind.from_task(family.task.task, layers=layers, **options)

    lacks = lambda family: _lacks(family, goal, shared=kind.needs_matrix)
    return Candidate(name, f"{about}; then FISTA", make, Layered, lacks)


CANDIDATES: tuple[Candidate, ...] = (
    Candidate("ISTA", "proximal gradient, step 1/L", lambda family, key: ISTA()),
    Candidate(
        "FISTA + restart",
        "accelerated proximal gradient, step 1/L, momentum forgotten where it leads uphill",
        lambda family, key: FISTA(restart=True),
    ),
    Candidate(
        "AMP",
        "approximate message passing (Donoho et al. 2009); it can diverge on other matrices",
        lambda family, key: AMP(),
        lacks=lambda family: _lacks(family, "recovery", shared=False),
    ),
    Candidate(
        "StepFISTA",
        "FISTA with a learned step and momentum at each of its first iterations",
        lambda family, key: StepFISTA(family.depth),
        first,
        lambda family: _for_goal(family, "objective"),
    ),
    Candidate(
        "HyperLISTA",
        "layers with three numbers in all, found without gradients (Chen et al. 2021)",
        lambda family, key: HyperLISTA.from_task(family.task.task, layers=family.depth),
        Tried,
        lambda family: _lacks(family, "recovery"),
    ),
    _network("ALISTA", "layers with a matrix by formula, a step and a threshold each", ALISTA),
    _network("TISTA", "layers with the posterior mean of x♯, a step each", TISTA, "recovery"),
    _network(
        "LISTA-CPSS",
        "layers with a matrix and a threshold each, which spares the largest entries",
        LISTACP,
        "recovery",
        p=1.2,
    ),
    _network("LAMP", "layers of AMP with a matrix and a threshold each", LAMP, "recovery"),
    _network("LISTA-CP", "layers with a matrix and a threshold each", LISTACP),
    _network("StepLISTA", "ISTA with a step of its own in each layer", StepLISTA, "objective"),
    _network("LISTA", "layers of two matrices (Gregor & LeCun 2010)", LISTA, "objective"),
    _math(
        "Math-L2O",
        "an LSTM chooses steps and momentum (PA, Liu et al. 2023), guarded by FISTA",
        monotone=False,
    ),
    _math(
        "Math-L2O, monotone",
        "the same without a guard: no step raises the objective, whatever was learned",
        monotone=True,
    ),
)


def begin(candidate: Candidate, family: Family, key: Key) -> Training | None:
    """The training of a candidate, compiled; None where there is nothing to train."""
    if candidate.train is None:
        return None
    key_make, key_train = jr.split(key)
    return candidate.train(family, candidate.make(family, key_make), key_train)
