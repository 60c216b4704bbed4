"""steppe: learning to optimize in JAX.

    import jax
    import optax
    import steppe

    opt = steppe.RNNProp(key=jax.random.key(0))
    opt, history = steppe.meta_train(
        steppe.Quadratic(), opt, estimator=steppe.BPTT(), objective=steppe.Trajectory(),
        meta_tx=optax.adam(1e-3), steps=1000, key=jax.random.key(1),
    )
    steppe.save("rnnprop.safetensors", opt)
    tx = steppe.to_optax(opt)

Names are looked up on first use: `import steppe` imports neither JAX nor anything else.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from .core.messages import missing

if TYPE_CHECKING:
    from .certificates.certify import certify
    from .core.episode import begin, unroll
    from .core.estimator import AbstractEstimator
    from .core.measure import AbstractMeasure
    from .core.objective import AbstractObjective
    from .core.optimizer import AbstractOptimizer, Fixed
    from .core.task import AbstractTask
    from .estimators.bptt import BPTT
    from .estimators.es import ES
    from .estimators.imitation import Imitation
    from .estimators.mix import Mix, Part
    from .estimators.pes import PES
    from .evaluate.run import evaluate
    from .evaluate.tune import tune
    from .interop.optax import to_optax
    from .objectives.trajectory import Trajectory
    from .optimizers.classic.from_optax import FromOptax
    from .optimizers.learned.dm import DM
    from .optimizers.learned.rnnprop import RNNProp
    from .optimizers.learned.scale import Scale
    from .tasks.classify import Classify
    from .tasks.synthetic.quadratic import Quadratic
    from .train.curriculum import Curriculum
    from .train.loop import meta_train
    from .train.separate_states import apart
    from .train.step import meta_step
    from .train.validate import Validation
    from .zoo.assemble import assemble
    from .zoo.io import load_optimizer as load
    from .zoo.io import save_optimizer as save
    from .zoo.presets import recipe

    __version__: str

__all__ = [
    "BPTT",
    "DM",
    "ES",
    "PES",
    "AbstractEstimator",
    "AbstractMeasure",
    "AbstractObjective",
    "AbstractOptimizer",
    "AbstractTask",
    "Classify",
    "Curriculum",
    "Fixed",
    "FromOptax",
    "Imitation",
    "Mix",
    "Part",
    "Quadratic",
    "RNNProp",
    "Scale",
    "Trajectory",
    "Validation",
    "__version__",
    "apart",
    "assemble",
    "begin",
    "certify",
    "evaluate",
    "load",
    "meta_step",
    "meta_train",
    "recipe",
    "save",
    "to_optax",
    "tune",
    "unroll",
]

FILES = {  # name: the file it is in, and its name there if another
    "BPTT": "estimators.bptt",
    "DM": "optimizers.learned.dm",
    "ES": "estimators.es",
    "PES": "estimators.pes",
    "AbstractEstimator": "core.estimator",
    "AbstractMeasure": "core.measure",
    "AbstractObjective": "core.objective",
    "AbstractOptimizer": "core.optimizer",
    "AbstractTask": "core.task",
    "Classify": "tasks.classify",
    "Curriculum": "train.curriculum",
    "Fixed": "core.optimizer",
    "FromOptax": "optimizers.classic.from_optax",
    "Imitation": "estimators.imitation",
    "Mix": "estimators.mix",
    "Part": "estimators.mix",
    "Quadratic": "tasks.synthetic.quadratic",
    "RNNProp": "optimizers.learned.rnnprop",
    "Scale": "optimizers.learned.scale",
    "Trajectory": "objectives.trajectory",
    "Validation": "train.validate",
    "apart": "train.separate_states",
    "assemble": "zoo.assemble",
    "begin": "core.episode",
    "certify": "certificates.certify",
    "evaluate": "evaluate.run",
    "load": "zoo.io:load_optimizer",
    "meta_step": "train.step",
    "meta_train": "train.loop",
    "recipe": "zoo.presets",
    "save": "zoo.io:save_optimizer",
    "to_optax": "interop.optax",
    "tune": "evaluate.tune",
    "unroll": "core.episode",
}
# steppe.data.digits(), steppe.zoo.build("dm", …)
PACKAGES = ("certificates", "data", "interop", "tasks", "zoo")


def __getattr__(name: str):
    if name == "__version__":
        from importlib.metadata import version

        return version("steppe")
    if name in PACKAGES:
        return import_module(f"{__name__}.{name}")
    if name not in FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    file, _, original = FILES[name].partition(":")
    try:
        found = getattr(import_module(f"{__name__}.{file}"), original or name)
    except ModuleNotFoundError as error:
        raise ImportError(missing(error)) from error
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted([*__all__, *PACKAGES])
