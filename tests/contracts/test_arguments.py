"""Numbers that cannot be meant are refused by one sentence, before anything is computed.

Every numeric argument of every task, measure, estimator, objective, and of the functions below is
given NaN, infinity, −1, 0, 0.5 for a whole number, True for one, a text, and a number of 400
digits. It has to be refused by name, or to stand in `SENSIBLE`.
"""

import inspect
import math
import sys
import typing
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import jax.random as jr
import optax
import pytest

import steppe
from steppe.core.measure import AbstractMeasure
from steppe.estimators.adapted import Adapted
from steppe.estimators.bptt import BPTT
from steppe.estimators.es import ES, PES
from steppe.estimators.imitation import Imitation
from steppe.estimators.mix import Mix
from steppe.evaluation.grid import run_grid
from steppe.evaluation.levels import descend
from steppe.evaluation.stats import bootstrap
from steppe.flatness import hutchinson
from steppe.flatness.hessian import HessianTrace
from steppe.objectives.regularized import Regularized
from steppe.objectives.swarm import Located
from steppe.objectives.trajectory import Trajectory
from steppe.optimizers.classic.from_optax import adam
from steppe.optimizers.self_adapting import SelfAdapting
from steppe.optimizers.sparse_updates import SparseUpdates
from steppe.optimizers.unrolled.base import AbstractUnrolled
from steppe.train.adapt import Adapter
from steppe.train.curriculum import Curriculum
from steppe.train.step import separate_states
from steppe.train.validate import Validation
from tests.examples import TASKS, final_classes

VALUES = {
    "NaN": math.nan, "inf": math.inf, "-1": -1, "0": 0, "0.5": 0.5, "True": True, "text": "3",
    "huge": 10**400,
}  # fmt: skip
WHOLE = ("0.5", "True")  # are wrong for whole numbers alone

# Arguments for which −1 or 0 make sense
SENSIBLE = {
    "Quadratic.start": ("0",), "Wells.spread": ("0",), "Lasso.l1": ("0",), "Lasso.start": ("0",),
    "Lasso.seed": ("0",), "SparseRecovery.weight": ("0",),
    "SparseRecovery.ridge": ("0",), "SparseRecovery.correlation": ("0",),
    "SparseRecovery.snr": ("-1", "0"), "SparseRecovery.seed": ("0",),
    "SparseLogistic.weight": ("0",), "ImagePatches.weight": ("0",),
    "TabularLogistic.weight": ("0",), "Shifted.start": ("-1", "0"),
    "Shifted.objective": ("-1", "0"), "Rastrigin.start": ("0",), "Rastrigin.shift": ("0",),
    "QuadraticGame.coupling": ("-1", "0"), "GANRing.penalty": ("0",),
    "Bowl.angle": ("-1", "0"), "TwoClasses.separation": ("0",), "Noisy.deviation": ("0",),
    "Noisy.zero": ("0",), "Scaled.spread": ("0",), "Flattened.beta": ("-1", "0"),
    "LocalEntropy.temperature": ("0",), "LocalEntropy.decay": ("0",),
    "LocalEntropy.burn_in": ("0",), "Regularized.strength": ("-1", "0"),
    "Located.weight": ("0",),
    "Regularized.since": ("0",), "Curriculum.weights": ("-1", "0"), "Mix.weights": ("-1", "0"),
    "Adapted.rate": ("0",),
    "Curriculum.scales": ("-1", "0"), "meta_train.steps": ("0",), "meta_train.bad_share": ("0",),
    "run_grid.retries": ("0",), "descend.levels": ("-1", "0"), "bootstrap.seed": ("0",),
    "tune.grid": ("-1", "0"), "evaluate.seeds": ("0",), "Adapter.updates": ("0",),
    "Adapter.rate": ("0",), "adapt.rates": ("0",), "adapt.seed": ("0",),
    "SelfAdapting.rate": ("0",), "SelfAdapting.memory": ("0",),
    **{
        f"{name}.{argument}": ("0",)
        for name in ("ALISTA", "GLISTA", "LFISTA", "LISTA", "LISTACP", "NAALISTA", "TiLISTA")
        for argument in ("threshold", "p", "p_max")
        if argument == "threshold" or name not in ("LFISTA", "LISTA")
        if argument != "threshold" or name != "NAALISTA"
    },
    "GLISTA.gain": ("-1", "0"), "GLISTA.overshoot": ("-1", "0"), "LAMP.alpha": ("0",),
    "TISTA.noise": ("0",), **{f"HyperLISTA.{c}": ("0",) for c in ("c1", "c2", "c3")},
}  # fmt: skip


class Began(Exception):
    """Work began."""


class Nothing:
    """Stands for a task or a key: whatever is done with it is work."""

    def __getattr__(self, name):
        raise Began

    def __call__(self, *given, **named):
        raise Began


class Subject(NamedTuple):
    make: Callable[..., Any]
    given: dict[str, Any]
    numbers: dict[str, bool]  # numeric argument → whether it is a whole number
    many: tuple[str, ...] = ()  # of them, those that are tuples


def subject(make: Callable[..., Any], given: dict[str, Any], like: object = None) -> Subject:
    """The numeric arguments by their hints; `like`, an example, has the other ones."""
    function = make.__init__ if isinstance(make, type) else make
    try:
        hints = typing.get_type_hints(function)
    except NameError:
        hints = {name: p.annotation for name, p in inspect.signature(function).parameters.items()}
    names = [name for name in inspect.signature(make).parameters if hasattr(like, name)]
    found, many = {}, []
    for name, hint in hints.items():
        if isinstance(hint, str):
            hint = eval(hint, vars(sys.modules[make.__module__]))
        plain = _plain(hint)
        if name not in ("return", "values") and plain & {int, float}:  # values: data
            found[name] = float not in plain
            if "tuple" in str(hint) or "Sequence" in str(hint):
                many.append(name)
    return Subject(make, {name: getattr(like, name) for name in names} | given, found, tuple(many))


def _plain(hint: Any) -> set[Any]:
    if typing.get_origin(hint) is typing.Literal or hint is bool:
        return set()
    inner = [_plain(part) for part in typing.get_args(hint)]
    return {hint} if hint in (int, float) else set().union(*inner)


KEY = jr.key(0)
WINDOWS = {"episodes": 2, "length": 2, "horizon": 4}
MEASURES = {
    "Adaptive": {"base": HessianTrace()}, "Relative": {"base": HessianTrace()},
    "LocalEntropy": {"gamma": 1.0}, "LogDet": {"gamma": 1.0}, "Smoothed": {"gamma": 1.0},
}  # fmt: skip
TRAINING = {
    "task": Nothing(), "opt": Nothing(), "estimator": Nothing(), "objective": Nothing(),
    "meta_tx": optax.adam(1e-3), "steps": 2, "key": Nothing(),
}  # fmt: skip
JUDGING = {"task": Nothing(), "horizon": 4, "key": Nothing()}
DESCENT = {
    "task": Nothing(), "opt": Nothing(), "horizon": 4, "every": 2, "levels": (), "keys": Nothing(),
}  # fmt: skip


def networks_for_a_matrix() -> list[type]:
    return sorted(final_classes(AbstractUnrolled), key=lambda cls: cls.__name__)


def network(cls: type) -> dict[str, Any]:
    """Arguments that an unrolled network cannot do without."""
    known = {"rows": 2, "n": 3, "key": KEY}
    return {name: known[name] for name in inspect.signature(cls).parameters if name in known}


def subjects() -> list[Subject]:
    examples = {type(task): task for task in (make() for make in TASKS.values())}
    networks = {type(t.network): t.network for t in examples.values() if hasattr(t, "network")}
    measures = sorted(final_classes(AbstractMeasure), key=lambda cls: cls.__name__)
    square = {"matvec": Nothing(), "like": jnp.ones(2), "probes": 2, "key": KEY}
    return [
        *(subject(cls, {}, like) for cls, like in (examples | networks).items()),
        *(subject(cls, MEASURES.get(cls.__name__, {})) for cls in measures),
        *(subject(cls, WINDOWS) for cls in (BPTT, ES, PES)),
        *(subject(cls, network(cls)) for cls in networks_for_a_matrix()),
        subject(Imitation, WINDOWS | {"teacher": adam(1e-3)}),
        subject(Mix, {"parts": {"a": BPTT(**WINDOWS)}}),
        subject(Adapted, {"base": BPTT(**WINDOWS)}),
        subject(SelfAdapting, {"base": adam(1e-3)}),
        subject(SparseUpdates, {"base": adam(1e-3)}),
        subject(Validation, {}),
        subject(Adapter, {"base": BPTT(**WINDOWS)}),
        subject(Curriculum, {"horizons": (4,)}),
        subject(Regularized, {"base": Trajectory(), "measure": HessianTrace(), "strength": 0.1}),
        subject(Located, {"base": Trajectory()}),
        subject(steppe.meta_train, TRAINING),
        subject(separate_states, {"tx": optax.adam(1e-3), "parts": 2}),
        subject(steppe.tune, JUDGING | {"make": Nothing()}),
        subject(
            steppe.evaluate, JUDGING | {"opt": Nothing(), "name": "", "task_name": "", "seeds": 2}
        ),
        subject(descend, DESCENT),
        subject(steppe.adapt, {"opt": adam(1e-3), "task": Nothing()}),
        subject(run_grid, {"cells": (), "work": "no:where", "out": "/nowhere/at/all"}),
        subject(bootstrap, {"values": Nothing()}),
        subject(hutchinson.trace, square),
        subject(hutchinson.diagonal, square),
        subject(hutchinson.frobenius_squared, square),
    ]


def tries(one: Subject) -> list[tuple[str, str, object]]:
    """(argument, label, value) of what has to be refused."""
    found = []
    for name, whole in one.numbers.items():
        sensible = SENSIBLE.get(f"{one.make.__name__}.{name}", ())
        for label, value in VALUES.items():
            if label in sensible or (label in WHOLE and not whole):
                continue
            found.append((name, label, (value,) if name in one.many else value))
    return found


@pytest.fixture(scope="module")
def known() -> list[Subject]:
    return subjects()


def test_what_cannot_be_meant_is_refused_by_name(known):
    wrong = []
    for one, (name, label, value) in [(sub, tried) for sub in known for tried in tries(sub)]:
        what = f"{one.make.__name__}: {name}={label}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                one.make(**one.given | {name: value})
                wrong.append(f"{what}: accepted")
            except ValueError as error:
                if name not in str(error) or "\n" in str(error) or len(str(error)) > 300:
                    wrong.append(f"{what}: {error}")
            except Exception as error:
                wrong.append(f"{what}: {type(error).__name__}: {error}")
    assert wrong == []


def test_the_list_of_what_is_sensible_has_no_stale_entry(known):
    found = {f"{one.make.__name__}.{argument}" for one in known for argument in one.numbers}
    assert found >= SENSIBLE.keys() and len(found) > 100
