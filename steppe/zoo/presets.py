"""The published recipes by name (described in `registry.PRESETS`). Standard library only."""

from typing import Any

from ..core.entry import SEE
from ..core.messages import did_you_mean
from .recipe import (
    Curriculum,
    Estimator,
    Imitation,
    Meta,
    Objective,
    Optimizer,
    Recipe,
    Run,
    change,
)

STAGES = (100, 200, 500, 1000, 1500, 2000, 2500, 3000)  # of DM and RNNProp
SCALE_STAGES = (*STAGES, 3500, 4000, 4500, 5000)

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
}


def recipe(name: str, /, **changes: Any) -> Recipe:
    """The published recipe of this name, with some of its settings changed (see `change`)."""
    if name not in PRESETS:
        raise ValueError(f"There is no preset {name!r}; {did_you_mean(name, PRESETS, see=SEE)}")
    return change(PRESETS[name], **changes)
