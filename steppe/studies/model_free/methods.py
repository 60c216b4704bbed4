"""The methods of the study: tuned, meta-trained here, or shipped with the library."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.random as jr

from ...core.optimizer import AbstractOptimizer
from ...core.task import AbstractTask
from ...core.types import Scalar
from ...evaluation.adaptation import adapt
from ...optimizers.classic.from_optax import adam, nesterov, rmsprop, sgd
from ...tasks import build
from ...train.loop import meta_train
from ...zoo import load
from ...zoo.assemble import assemble
from ...zoo.presets import recipe
from ...zoo.recipe import Curriculum, Recipe
from . import problems
from .settings import ADAPTED, BOTH, SHIPPED

MAKE: dict[str, Callable[[float | Scalar], AbstractOptimizer]] = {
    "gd": sgd, "nag": nesterov, "adam": adam, "rmsprop": rmsprop,
}  # fmt: skip
TOGETHER = "adam-4"  # four starts of Adam, the lowest of them
STARTS = 4
BASE = "rnnprop-v1"  # what is adapted
UPDATES, SEED = 5, 1  # of adaptation
META_TASK = "digits-mlp"  # sigmoid, from the published start

# On functions: the published recipes but for more episodes, fewer meta-steps at a larger rate.
ON_FUNCTIONS = {"meta_lr": 3e-3, "validation_episodes": 64}
# On a network: as in the study of techniques, fewer meta-steps and shorter stages.
ON_NETWORKS = {"episodes": 4, "meta_lr": 1e-2, "validate_every": 50, "validation_episodes": 4}
SAMPLED = {"rows": 128}  # of rules that treat coordinates alone
SLOWER = 3  # times as long takes a meta-step of L2O-Scale, whose coordinates are not alone
STAGES = Curriculum(horizons=(100, 200, 500), patience=2)
# The published meta-optimizer, RMSProp at 1e-6, and first rates from 1e-6 take far more meta-steps
# than there are; these are those of the shipped l2o-scale-v1.
OF_SCALE = {
    "second_order": False, "meta_opt": "adam", "meta_lr": 1e-3, "clip_each": None, "clip": 1.0,
    "optimizer.options": {"lr_range": (1e-3, 1e-1), "max_log_lr": 0.0},
}  # fmt: skip


class Method(NamedTuple):
    """A method that is ready.

    - `kind`: "by hand" or "learned"
    - `seconds`: of the processor, for tuning or training here
    - `about`: the rate, or how meta-training went
    """

    opt: AbstractOptimizer
    kind: str
    seconds: float
    about: dict[str, Any]


def made(cell: dict[str, Any], name: str, task: AbstractTask) -> Method:
    """The method of this name, tuned on the task, trained for it, or loaded."""
    began = time.process_time()
    base = "adam" if name == TOGETHER else "gd" if name == "restarts" else name
    if base in MAKE:
        steps = cell["steps"] // (STARTS if name == TOGETHER else 1)
        rate = problems.tuned(task, MAKE[base], steps, cell["tuned_on"])
        return Method(MAKE[base](rate), "by hand", _since(began), {"rate": rate})
    if name in SHIPPED or "digest" in cell:
        return Method(load(name), "learned", 0.0, {})
    if name == ADAPTED:
        opt, found = adapt(load(BASE), task, UPDATES, test=2, seed=SEED)
        return Method(opt, "learned", _since(began), {"kept": found.kept, "rate": found.rate})
    how = on_networks(name, cell) if cell["suite"] == "N1" else on_functions(name, cell)
    key_opt, key_train = jr.split(jr.key(cell["meta_seed"]))
    opt, options = assemble(how, trained_on(cell), key=key_opt)
    best, history = meta_train(options.pop("task"), opt, **options, key=key_train)
    about = {"best_step": history.best_step, "meta_steps": history.rows[-1]["step"]}
    return Method(best, "learned", _since(began), about)


def trained_on(cell: dict[str, Any]) -> AbstractTask:
    """The task of meta-training; Rastrigin functions above 0, for logarithms."""
    if cell["suite"] == "N1":
        return build(META_TASK)
    if cell["suite"] == "R1":
        return build("rastrigin-dm", n=int(cell["panels"][0]), instances=1, offset="bound")
    return problems.problem(cell["suite"], cell["panels"][0])


def on_functions(name: str, cell: dict[str, Any]) -> Recipe:
    steps = cell["updates"]
    changes = {"steps": steps, "validate_every": max(steps // 5, 1), "episodes": cell["episodes"]}
    return recipe(name, **ON_FUNCTIONS | changes | _of(name))


def on_networks(name: str, cell: dict[str, Any]) -> Recipe:
    changes = ON_NETWORKS | {"steps": cell["meta_steps"]} | _of(name)
    if name == "l2o-scale":
        changes |= {"steps": max(cell["meta_steps"] // SLOWER, 1)}
    else:
        changes |= SAMPLED
    changes |= {"validate_every": min(changes["validate_every"], changes["steps"])}
    return recipe(name, **changes, **({"curriculum": STAGES} if name.endswith(BOTH) else {}))


def _of(name: str) -> dict[str, Any]:
    return dict(OF_SCALE) if name == "l2o-scale" else {}


def _since(began: float) -> float:
    return round(time.process_time() - began, 1)
