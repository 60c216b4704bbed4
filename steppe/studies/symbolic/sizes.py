"""Settings of the studies of formulas beside the main one: tuning, scale, certificate."""

import dataclasses

from ...core.settings import check, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Certificate:
    """Sizes of the study of certificates."""

    tasks: tuple[int, ...] = setting((100,), "tasks that a posterior is trained on", least=8)
    seeds: int = setting(2, "sets of tasks", least=1)
    fit: int = setting(300, "steps of the training of a posterior", least=1)
    pairs: int = setting(2000, "pairs of weights and tasks that risks are read from", least=1)

    def __post_init__(self):
        check(self)


CERTIFICATES = {
    "tiny": Certificate(tasks=(100,), seeds=1, fit=20, pairs=200),
    "small": Certificate(),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tuning:
    """Sizes of the study of tuning."""

    seeds: int = setting(2, "meta-seeds of each arm", least=1)
    updates: int = setting(200, "meta-updates", least=1)
    horizon: int = setting(200, "inner steps of a training", least=20)
    fresh: int = setting(10, "trainings of each task that are compared", least=2)

    def __post_init__(self):
        check(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scale:
    """Sizes of the study of scale."""

    length: int = setting(10, "inner steps of an unroll", least=1)
    batch: int = setting(16, "images of a minibatch", least=1)
    steps: int = setting(3, "meta-steps that are taken and measured", least=1)
    folder: str = setting("", "folder or npz file of CIFAR-10; empty: where steppe looks for it")

    def __post_init__(self):
        check(self)


TUNINGS = {"tiny": Tuning(seeds=1, updates=20, horizon=40, fresh=2), "small": Tuning()}
SIZES = {"tiny": Scale(length=2, batch=2, steps=1), "small": Scale()}
