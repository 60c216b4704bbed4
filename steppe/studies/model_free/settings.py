"""Settings of the study of model-free optimizers. Standard library only."""

import dataclasses

from ...core.settings import check, setting

BY_HAND = ("gd", "nag", "adam", "rmsprop")
LEARNED = ("dm", "rnnprop", "l2o-scale")
BOTH = "-cl-il"  # ends the name of a recipe with curriculum and imitation
NETWORKS = ("relu", "deeper", "conv")
SHIPPED = (
    "dm-v1", "rnnprop-v1", "l2o-scale-v1", "dm-flat-v1", "rnnprop-flat-v1",
    "dm-flat-v1-symbolic", "rnnprop-flat-v1-symbolic",
)  # fmt: skip
ADAPTED = "rnnprop-v1-adapted"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelFree:
    """Sizes of the study."""

    sizes: tuple[int, ...] = setting((2, 10), "unknowns of the Rastrigin family", least=1)
    runs: int = setting(5, "runs of a method on a family, each on functions of its own", least=2)
    functions: int = setting(128, "functions of a run", least=2)
    steps: int = setting(1000, "inner steps", least=100)
    restarts: int = setting(400, "starts of gradient descent for the oracle", least=4)
    tuned_on: int = setting(32, "functions that a rate is tuned on", least=1)
    updates: int = setting(200, "meta-steps on functions", least=10)
    episodes: int = setting(32, "functions of a meta-step", least=1)
    by_hand: tuple[str, ...] = setting(BY_HAND, "rules whose rate is tuned", choices=BY_HAND)
    learned: tuple[str, ...] = setting(
        LEARNED, "optimizers that are meta-trained on functions", choices=LEARNED
    )
    shipped: tuple[str, ...] = setting(
        (*SHIPPED, ADAPTED), "optimizers that come with the library", choices=(*SHIPPED, ADAPTED)
    )
    optimizers: tuple[str, ...] = setting(
        (), "other trained optimizers: files, run folders, hub://owner/name"
    )
    networks: tuple[str, ...] = setting(NETWORKS, "networks to train", choices=NETWORKS)
    recipes: tuple[str, ...] = setting(
        (*LEARNED, "dm" + BOTH, "rnnprop" + BOTH), "recipes of meta-training on a network"
    )
    meta_seeds: int = setting(2, "meta-seeds of each recipe on a network", least=1)
    meta_steps: int = setting(600, "meta-steps on a network, at most with a curriculum", least=10)
    seeds: int = setting(3, "trainings of each network", least=1)
    tuning_seeds: int = setting(1, "trainings of each rate that is tried on a network", least=1)

    def __post_init__(self):
        check(self)


SCALES = {
    "tiny": ModelFree(
        sizes=(2,), runs=2, functions=16, steps=100, restarts=20, tuned_on=4, updates=20,
        episodes=8, by_hand=("gd", "adam"), learned=("dm",),
        shipped=("rnnprop-v1", "rnnprop-flat-v1-symbolic"),
        networks=("relu",), recipes=("dm-cl-il",), meta_seeds=1, meta_steps=20, seeds=2,
    ),
    "small": ModelFree(),
    "paper": ModelFree(
        runs=10, updates=5000, episodes=128, meta_seeds=5, meta_steps=10_000, seeds=10,
        tuning_seeds=3, steps=10_000,
    ),
}  # fmt: skip
