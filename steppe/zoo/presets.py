"""The published recipes by name (described in `registry.PRESETS`). Standard library only.

Unrolled networks have a recipe each, by the name of the network: layer by layer, as published.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ..core.entry import SEE
from ..core.messages import did_you_mean
from ..optimizers.names import OPTIMIZERS
from .adaptation import Adaptation
from .recipe import (
    Curriculum,
    Estimator,
    Imitation,
    Meta,
    Objective,
    Optimizer,
    Penalty,
    Recipe,
    Run,
    Task,
    change,
    changed,
)

STAGES = (100, 200, 500, 1000, 1500, 2000, 2500, 3000)  # of DM and RNNProp
SCALE_STAGES = (*STAGES, 3500, 4000, 4500, 5000)

# Of unrolled networks: spec of Open-L2O, with the meta-steps of a layer that take minutes here
LAYERS = 16
LAYER_STEPS = (200, 200, 100)
VALIDATE_EVERY = 20
RATE = 5e-4  # of matrices
RATE_OF_NUMBERS = 1e-2  # of networks that train numbers alone
OF_NUMBERS = ("alista", "step-lista", "tista")

# One published epoch is one episode of `horizon` steps, that is horizon/unroll meta-steps.
DM = Recipe(
    optimizer=Optimizer(name="dm"),
    estimator=Estimator(episodes=1),
    objective=Objective(weights="sum", transform="identity"),
    meta=Meta(clip=None),
    run=Run(
        steps=50_000,  # 10 000 epochs
        validate_every=500,  # 100 epochs
        validation_episodes=20,
    ),
)
RNNPROP = change(DM, opt="rnnprop", steps=500, validate_every=50)
# Ours: steadier meta-training, with features of time and a learned weight decay (docs/steady.md).
# What it is worth, and the weight of flatness: the study `flatness_2`, which gives it three tasks.
STEADY = Recipe(
    task=Task(scaling=1.0),
    optimizer=Optimizer(
        name="rnnprop",
        hidden=(20,),
        time_scales=(10.0, 100.0, 1000.0),
        weight_decay=1e-3,
        options={"scale": 0.03},
    ),
    estimator=Estimator(episodes=6, unroll=20, horizon=500, rows=256),
    objective=Objective(weights="uniform", transform="identity"),
    imitation=Imitation(weights="uniform"),
    meta=Meta(lr=1e-3, decay="cosine", clip=1.0),
    run=Run(
        steps=1000,
        keep="average",
        validate_every=0,
        validation_episodes=4,
        validate_by="objective",
    ),
)
RELATIVE_TRACE = Penalty(
    kind="gauss-newton",
    units="length",
    normalise="log1p",
    reference=2500.0,
    probes=2,
    weight=1.0,
)
# Ours: a rule of a few hundred weights, by held-out losses over windows of 100 steps. The tasks
# that the shipped one was meta-trained on: `studies/shipped_weights/tries_design.py`.
SMALL_MLP = change(
    STEADY,
    optimizer=Optimizer(
        name="small-mlp", hidden=(8, 8), time_scales=(10.0, 100.0, 1000.0), weight_decay=1e-3
    ),
    unroll=100,
    rows=None,
    meta_lr=3e-3,
    steps=150,
    **{"objective.batch": "valid"},
)
L2O_SCALE = Recipe(
    optimizer=Optimizer(name="l2o-scale"),
    estimator=Estimator(episodes=1, second_order=True),
    imitation=Imitation(weights="uniform", shared=True),
    meta=Meta(optimizer="rmsprop", lr=1e-6, clip=None, clip_each=1e4),
    run=Run(
        steps=500,  # 100 meta-iterations
        validate_every=5,
        validation_episodes=5,
    ),
)
# HALO: L2O-Scale with the squared gradient norm at every step, unrolls of 10, 50 meta-iterations.
# The paper's λ is 1e-3; the code's α is 5e-4, of a mean over the parameters. Both count the sum
# over the 10 steps, of which a penalty takes the mean.
HALO_UNROLL = 10
HALO = change(
    L2O_SCALE,
    unroll=HALO_UNROLL,
    second_order=False,
    validate_every=10,
    penalty=Penalty(kind="gradient-norm", weight=1e-3 * HALO_UNROLL, where="steps"),
)
# The published code trains on three episodes at once. Departures, see `estimators.adapted` and
# docs/adaptation.md: the optimizer counts steps right, and is selected as it is used, adapted.
M_L2O = change(
    RNNPROP,
    episodes=3,
    steps=50_000,  # 10 000 epochs
    adapted=Adaptation(rate=1e-3, outer="next"),
)
# Problems of the published code have their optimum near 0; `rastrigin-shifted` has it anywhere.
SWARM = Recipe(
    task=Task(particles=4),
    optimizer=Optimizer(name="swarm"),
    estimator=Estimator(episodes=128),
    objective=Objective(weights="sum", transform="identity", entropy=1e-3),
    meta=Meta(clip=None),
    run=Run(steps=5000, validate_every=100, validation_episodes=32),  # 1000 epochs
)
# Ours: by the loss a swarm learns to go to the nearest minimum (the study `swarms`).
SWARM_PATH = change(
    SWARM,
    hidden=(16,),
    **{"optimizer.options": {"units": 20.0, "scale": 0.5}},
    estimator=Estimator(episodes=64, unroll=80, horizon=80),
    objective=Objective(of="path", weights="uniform", transform="identity", entropy=1e-3),
    meta=Meta(lr=1e-2, clip=1.0, decay="cosine"),
    steps=1200,
)

# Games: an epoch is one episode of 50 steps. Of `twin` the objective, the meta-learning rate and
# the clipping are ours, see docs/games.md; of the published one the steps between two updates, its
# tricks, and first order, in which no player is blamed for what the other does.
TWIN = Recipe(
    optimizer=Optimizer(name="twin"),
    estimator=Estimator(episodes=128, unroll=10, horizon=50, second_order=True),
    objective=Objective(of="merit", weights="sum", transform="identity"),
    run=Run(steps=1000, validate_every=25, validation_episodes=20),  # 200 epochs
)
TWIN_PUBLISHED = change(
    TWIN,
    optimizer=Optimizer(
        name="twin",
        options={"scale": 1.0, "memory": 1e-4, "sign_steps": 10, "deviation": 0.01},
    ),
    unroll=5,
    second_order=False,
    objective=Objective(of="reward", weights="sum", transform="identity"),
    meta=Meta(lr=1e-4, clip=None),
    run=Run(steps=2000, validate_every=50, validation_episodes=20),
)


def techniques(
    base: Recipe, stages: tuple[int, ...], ratio: float, ratios: tuple[float, ...]
) -> dict[str, Recipe]:
    """A recipe, with curriculum, with imitation, with both.

    - `base`: the recipe without either
    - `stages`: horizons of the curriculum
    - `ratio`, `ratios`: shares of imitation without a curriculum, and stage by stage
    """
    cl = {"curriculum": Curriculum(horizons=stages), "steps": 100_000}  # it ends by itself
    il = lambda ratio: {"imitation.teachers": ("adam",), "imitation.ratio": ratio}
    return {
        "": base,
        "-cl": change(base, **cl),
        "-il": change(base, **il((ratio,))),
        "-cl-il": change(base, **cl, **il(ratios)),
    }


PRESETS: dict[str, Recipe] = {
    name + ending: variant
    for name, variants in {
        "dm": techniques(DM, STAGES, 0.3, (0.0, 0.1, 0.3)),
        "rnnprop": techniques(RNNPROP, STAGES, 0.3, (0.3,)),
        "l2o-scale": techniques(L2O_SCALE, SCALE_STAGES, 0.1, (0.1,)),
    }.items()
    for ending, variant in variants.items()
} | {
    "rnnprop-steady": STEADY,
    "rnnprop-flat": change(STEADY, penalty=RELATIVE_TRACE),
    "small-mlp": SMALL_MLP,
    "small-mlp-flat": change(  # flat, but not in the first fifth of a training
        SMALL_MLP, penalty=dataclasses.replace(RELATIVE_TRACE, active="last", fraction=0.8)
    ),
    "halo": HALO,
    "halo-code": change(HALO, **{"penalty.weight": 5e-4 * HALO_UNROLL, "penalty.mean": True}),
    "m-l2o": M_L2O,
    "m-l2o-cl": change(M_L2O, curriculum=Curriculum(horizons=STAGES), steps=100_000),
    "twin": TWIN,
    "twin-cl": change(TWIN, **{"curriculum.easiest": 0.2, "curriculum.easiest_until": 400}),
    "twin-published": TWIN_PUBLISHED,
    "swarm": SWARM,
    "swarm-path": SWARM_PATH,
}


def recipe(name: str, /, **changes: Any) -> Recipe:
    """The published recipe of this name, with some of its settings changed (see `change`).

    - `name`: a preset, or an unrolled network such as "alista"
    """
    if is_unrolled(name):
        return change(unrolled(name, changed(changes)), **changes)
    if name not in PRESETS:
        raise ValueError(f"There is no preset {name!r}; {did_you_mean(name, PRESETS, see=SEE)}")
    return change(PRESETS[name], **changes)


def is_unrolled(name: str) -> bool:
    """True for the name of an unrolled network that is trained."""
    entry = OPTIMIZERS.get(name)
    return entry is not None and entry.learned and entry.family == "unrolled"


def unrolled(name: str, given: Mapping[str, Any]) -> Recipe:
    """The recipe of an unrolled network, where the settings `given`, by path, are to be changed.

    The number of layers decides the length of episodes, and with the steps of a stage that of
    the run.
    """
    options = given.get("optimizer.options", {})
    layers = options.get("layers", given.get("optimizer.layers") or LAYERS)
    layers = layers if isinstance(layers, int) else LAYERS  # whoever builds it refuses the other
    every = max(given.get("run.validate_every") or VALIDATE_EVERY, 1)
    stages = given.get("curriculum.layers") or LAYER_STEPS
    steps = layers * sum(-(-max(count, 1) // every) * every for count in stages)
    return Recipe(
        optimizer=Optimizer(name=name, layers=None if "layers" in options else layers),
        estimator=Estimator(kind="whole", episodes=64, unroll=layers, horizon=layers),
        objective=Objective(of="either", weights="last", transform="identity"),
        curriculum=Curriculum(layers=LAYER_STEPS, patience=5),
        meta=Meta(lr=RATE_OF_NUMBERS if name in OF_NUMBERS else RATE, clip=None),
        run=Run(
            steps=steps,
            validate_every=VALIDATE_EVERY,
            validation_episodes=256,
            validate_by="objective",
        ),
    )
