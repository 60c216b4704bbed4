"""Settings of the study of M-L2O. Standard library only."""

import dataclasses

from ...core.settings import check, setting

TRAINED = {  # arms that are meta-trained: how they are called
    "transfer": "transfer, fair",
    "next-0": "control: next window, α = 0",
    "next": "M-L2O as published: next window, α = 1e-3",
    "same": "M-L2O: same window, α = 1e-3",
    "adam": "M-L2O: 5 inner steps of Adam at 1e-3",
    "same-large": "M-L2O: same window, α = 0.1",
    "next-large": "M-L2O: next window, α = 0.1",
    "transfer-2x": "transfer, twice the updates",
    "learned": "M-L2O: learned rates",
    "second-large": "M-L2O: second order, α = 0.1",
    "second": "M-L2O: second order, α = 1e-3",
}
BASES = {  # what adapts while it runs, and to nothing before
    "transfer": "transfer",
    "shipped": "rnnprop-v1",
    "near": "Adam at the rate that is best at σ = 1",
}
HOWS = {  # how it does
    "self-adapting": "adapting while it runs",
    "unguarded": "adapting while it runs, no guard",
    "tensors": "adapting while it runs, each tensor too",
    "last-update": "control: adapting while it runs, memory 0",
    "still": "control: adapting while it runs at rate 0",
}
RUNNING = {f"{base}-{how}": f"{BASES[base]}, {HOWS[how]}" for base in BASES for how in HOWS
           if base != "near" or how == "self-adapting"}  # fmt: skip
ALONE = {"shipped": "rnnprop-v1 as it is", "near": "Adam at the rate that is best at σ = 1"}
ARMS = {
    **TRAINED,
    "vanilla": "vanilla: untrained",
    **ALONE,
    **RUNNING,
    "tuned": "Adam, tuned",
}
FAMILIES = ("rosenbrock-m-l2o", "rastrigin-m-l2o", "quadratic-m-l2o-100")  # none is trained on
EXACT, CONTROL, TRANSFER = "exact", "control", "transfer"
STARTS = ("transfer", "shipped")  # that adapt to them
PRICED_ON = ("lasso-m-l2o-100", "digits-mlp")
PREDICTED = (TRANSFER, CONTROL, EXACT)  # arms of the family where the gain is known


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetaAdaptation:
    """Sizes of the study."""

    arms: tuple[str, ...] = setting(tuple(ARMS), "arms that are compared", choices=tuple(ARMS))
    seeds: int = setting(10, "meta-seeds of each arm", least=2)
    instances: int = setting(16, "systems side by side in a problem", least=1)
    updates: int = setting(500, "steps of meta-training", least=5)
    spreads: tuple[float, ...] = setting(
        (1.0, 10.0, 100.0), "standard deviations of W that are adapted to", above=0
    )
    adapted: tuple[int, ...] = setting(
        (0, 1, 5, 25), "updates of adaptation before the judging", least=0
    )
    draws: int = setting(4, "adaptations of each optimizer to each spread", least=1)
    problems: int = setting(2, "fresh problems for each of them", least=1)
    steps: int = setting(500, "inner steps on each problem", least=100)
    families: tuple[str, ...] = setting(
        FAMILIES, "other families of problems, adapted to and judged on", choices=FAMILIES
    )
    starts: int = setting(5, "meta-seeds on other families", least=2)
    priced: tuple[str, ...] = setting(
        PRICED_ON, "tasks on which time and memory are measured", choices=PRICED_ON
    )
    predicted: int = setting(1500, "steps of meta-training where the gain is known", least=10)

    def __post_init__(self):
        check(self)


SCALES = {
    "tiny": MetaAdaptation(
        arms=("transfer", "next-0", "next", "vanilla", "tuned"),
        seeds=3, instances=8, updates=100, spreads=(100.0,), adapted=(0, 5), draws=2, problems=1,
        families=(), priced=(),
    ),
    "small": MetaAdaptation(),
    "paper": MetaAdaptation(
        seeds=20, instances=128, updates=5000, spreads=(1.0, 10.0, 25.0, 50.0, 100.0, 200.0),
        adapted=(0, 1, 5, 10, 25, 50), draws=10, problems=4, steps=1000, predicted=5000,
    ),
}  # fmt: skip
