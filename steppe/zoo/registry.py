"""All named things in one place: recipes, trained optimizers, and the tables of other packages.

`build("adam", lr=1e-3)` makes an optimizer by its name.

No JAX until something is built.
"""

import functools
import inspect
import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..core.entry import Entry, find, table
from ..core.messages import did_you_mean
from ..data.names import DATA
from ..estimators.names import ESTIMATORS
from ..flatness.names import MEASURES
from ..optimizers.names import OPTIMIZERS
from ..tasks.names import TASKS

if TYPE_CHECKING:
    from ..core.optimizer import AbstractOptimizer
    from ..core.task import AbstractTask
    from ..core.types import Key


K = TypeVar("K", bound="type[AbstractOptimizer]")
HUB = "hub://"  # begins the address of an optimizer on the Hugging Face Hub
WEIGHTS = Path(__file__).parent / "weights"  # NAME.safetensors of each pretrained optimizer

CL = "episodes grow, validation decides when"
IL = "now and then it imitates Adam"
PUBLISHED = {  # recipe: what is published of it
    "dm": "L2O-DM as published with Open-L2O: 50 000 meta-steps on episodes of 100 steps",
    "rnnprop": "RNNProp as published with Open-L2O: 500 meta-steps on episodes of 100 steps",
    "l2o-scale": "L2O-Scale as published with Open-L2O: logarithmic loss, RMSProp at 1e-6",
}


def _preset(name: str, family: str, about: str) -> Entry:
    return Entry(name, about, ".zoo.presets:recipe", family=family)  # called with its name


PRESETS = table(
    *(
        _preset(family + ending, family, words)
        for family, about in PUBLISHED.items()
        for ending, words in {
            "": about,
            "-cl": f"the same with a curriculum: {CL}",
            "-il": f"the same with imitation: {IL}",
            "-cl-il": "the same with both (Chen et al. 2020)",
        }.items()
    ),
    _preset(
        "rnnprop-steady",
        "rnnprop",
        "RNNProp that knows of time and decays weights, meta-trained steadily; takes --other-tasks",
    ),
    _preset(
        "rnnprop-flat", "rnnprop", "the same with a measure of flatness, for trainings that overfit"
    ),
    _preset(
        "small-mlp",
        "small-mlp",
        "a rule of a few hundred weights, by held-out losses; takes --other-tasks",
    ),
    _preset("small-mlp-flat", "small-mlp", "the same with a measure of flatness"),
    _preset(
        "halo",
        "l2o-scale",
        "L2O-Scale that keeps gradients small: 1e-3 ‖∇f‖² at every step (Li et al. 2020)",
    ),
    _preset("halo-code", "l2o-scale", "the same as in its code: 5e-4 times a mean over parameters"),
    _preset(
        "m-l2o",
        "rnnprop",
        "RNNProp trained to adapt, for --task lasso-m-l2o (Yang et al. 2023), its slips mended",
    ),
    _preset("m-l2o-cl", "rnnprop", f"the same with a curriculum, as published: {CL}"),
    _preset(
        "twin",
        "twin",
        "Twin-L2O, for --task seesaw and other games, trained by the gradient that is left",
    ),
    _preset("twin-cl", "twin", "the same, the easiest episodes first (Shen et al. 2021)"),
    _preset(
        "twin-published",
        "twin",
        "Twin-L2O as published with Open-L2O: trained by rewards, with the tricks of the code",
    ),
    _preset("swarm", "swarm", "LOIS as in its paper, four particles on any task (Cao et al. 2019)"),
    _preset("swarm-path", "swarm", "the same, shown a walk over the ripples and then the minimum"),
)


def _pretrained(name: str, family: str, about: str) -> Entry:
    return Entry(name, about, ".zoo.io:load", family=family)  # called with its name


# A name that has been released keeps its weights for good; better ones get the next number.
PRETRAINED = table(
    *(
        _pretrained(name, family, about)
        for family, about in {
            "dm": "DM, an LSTM of 20 cells, meta-trained on 8x8 digits",
            "rnnprop": "RNNProp, an LSTM of 20 cells, meta-trained on 8x8 digits",
            "l2o-scale": "L2O-Scale, with the published sizes, meta-trained on 8x8 digits",
        }.items()
        for name, about in {
            f"{family}-v1": about,
            f"{family}-flat-v1": f"twin of {family}-v1, with a measure of flatness in the "
            "meta-objective",
        }.items()
    ),
    *(
        _pretrained(
            f"{teacher}-symbolic",
            "symbolic",
            f"{teacher} as a formula of {nodes} nodes, its numbers meta-trained on 8x8 digits",
        )
        for teacher, nodes in {"dm-flat-v1": 3, "rnnprop-flat-v1": 7}.items()
    ),
)


TABLES: Mapping[str, Mapping[str, Entry]] = {
    "tasks": TASKS,
    "optimizers": OPTIMIZERS,
    "presets": PRESETS,
    "pretrained": PRETRAINED,
    "data": DATA,
    "measures": MEASURES,
    "estimators": ESTIMATORS,
}


def learned() -> list[str]:
    """Names of the optimizers that have weights to train."""
    return [name for name, entry in OPTIMIZERS.items() if entry.learned]


def tunable() -> list[str]:
    """Names of the hand-made optimizers with a learning rate to tune."""
    return [n for n, entry in OPTIMIZERS.items() if "lr" in entry.tunable and not entry.learned]


def ready_made() -> list[str]:
    """Names of the hand-made optimizers that take their steps from the structure of the loss."""
    whole = {n: e for n, e in OPTIMIZERS.items() if not e.learned and e.family != "wrappers"}
    return [n for n, entry in whole.items() if entry.needs and "lr" not in entry.tunable]


def classes() -> dict[str, type["AbstractOptimizer"]]:
    """Classes of optimizers by the name that a checkpoint calls them."""
    found = (entry.load() for entry in OPTIMIZERS.values())
    return {kind.__name__: kind for kind in found if isinstance(kind, type)}


def register(kind: K, name: str = "", about: str = "") -> K:
    """Make an optimizer class of yours known by name: to `build`, `load`, lists and suggestions.

    Returns the class, so that it can stand above it: `@steppe.register`. A checkpoint names its
    class, so that whoever loads it runs this line before.

    - `name`: "my-rule" for a class MyRule where none is given
    - `about`: one line about it; the first of its docstring where none is given

    Raises ValueError where another optimizer has that name.
    """
    from ..core.optimizer import AbstractOptimizer

    if not (isinstance(kind, type) and issubclass(kind, AbstractOptimizer)):
        raise ValueError(f"register takes a subclass of steppe.AbstractOptimizer, got {kind!r}.")
    own = kind.__name__
    name = name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", own).lower()
    place = lambda made: (made.__module__, made.__qualname__)
    for known, entry in OPTIMIZERS.items():
        other = entry.load()
        if place(other) != place(kind) and (known == name or other.__name__ == own):
            raise ValueError(
                f"There is an optimizer {known!r} already, {other.__name__}; give your class "
                f"{own} another name."
            )
    said = about or (kind.__doc__ or "an optimizer of yours").strip().splitlines()[0]
    OPTIMIZERS[name] = Entry(name, said, kind, learned=True)
    return kind


def build(
    name: str, *, key: "Key | None" = None, task: "AbstractTask | None" = None, **options: Any
) -> "AbstractOptimizer":
    """Build an optimizer by its name.

    - `name`: a name in `OPTIMIZERS`
    - `key`: PRNG key for those that start from random weights
    - `task`: problems for those that are made for a matrix (the unrolled networks), which then
      start as published
    - `options`: arguments of its class or function, e.g. `lr=1e-3`

    Raises ValueError for a name or an option that there is not, and for one that is missing, and
    `StructureError`, which is one, for a task whose loss has not the structure that is needed.
    """
    entry = find("optimizer", OPTIMIZERS, name)
    make, options = entry.load(), {**entry.arguments, **options}
    arguments = inspect.signature(make).parameters
    if task is not None and hasattr(make, "from_task"):
        arguments = {n: a for n, a in arguments.items() if n not in ("rows", "n")}
        make = functools.partial(make.from_task, task)
    elif task is not None and entry.needs:
        _check_structure(entry, task)
    known = [n for n, a in arguments.items() if n != "key" and a.kind is not a.VAR_KEYWORD]
    takes_any = any(a.kind is a.VAR_KEYWORD for a in arguments.values())
    for option in options:
        if option not in known and not takes_any:
            raise ValueError(f"{name} has no option {option!r}; {did_you_mean(option, known)}")
    for option in known:
        if arguments[option].default is inspect.Parameter.empty and option not in options:
            way = ", or a task whose problems share a matrix" if hasattr(make, "from_task") else ""
            raise ValueError(f"{name} needs the option {option!r}; give {option}=…{way}.")
    if "key" not in arguments:
        return make(**options)
    if key is None:
        raise ValueError(f"{name} starts from random weights; give key=jax.random.key(seed).")
    return make(**options, key=key)


def with_rate(
    name: str, lr: Any, *, steps: int, task: "AbstractTask | None" = None, **settings: Any
) -> "AbstractOptimizer":
    """Build a hand-made optimizer from a learning rate, for a training of so many steps.

    - `lr`: a number or an array
    - `steps`: for those whose rate falls over the training
    - `settings`: its other hyper-parameters
    """
    entry = find("optimizer", OPTIMIZERS, name)
    falls = "steps" in inspect.signature(entry.load()).parameters
    return build(name, task=task, lr=lr, **({"steps": steps} if falls else {}), **settings)


def tries(name: str) -> list[dict[str, float]]:
    """Settings that are tried with each learning rate of a hand-made optimizer; [{}] for none.

    The first has the customary values.
    """
    known = find("optimizer", OPTIMIZERS, name).tries
    combined = itertools.product(*known.values())
    return [dict(zip(known, values, strict=True)) for values in combined]


def check_players(name: str, opt: "AbstractOptimizer", task: "AbstractTask") -> None:
    """Refuse an optimizer of the library that would descend f for both players of a game.

    One of one's own is let through, as it may know of players.

    - `name`: of the optimizer, for the sentence
    """
    import jax.tree_util as jtu

    from ..core.loss import Saddle
    from ..core.optimizer import AbstractOptimizer
    from ..core.task import structure

    if not issubclass(structure(task), Saddle):
        return
    playing = {entry.load() for entry in OPTIMIZERS.values() if entry.needs == Saddle.__name__}
    knows = lambda x: type(x) in playing or not type(x).__module__.startswith("steppe.")

    def within(opt: AbstractOptimizer) -> bool:
        is_inside = lambda x: x is not opt and isinstance(x, AbstractOptimizer)
        inside = filter(is_inside, jtu.tree_leaves(opt, is_leaf=is_inside))
        return knows(opt) or any(map(within, inside))

    if not within(opt):
        raise ValueError(
            f"{name} would descend for both players, but {type(task).__name__} is a game, in which "
            f"one climbs; take one of {', '.join(by_needs(Saddle.__name__))}, or in Python "
            "DescentAscent(opt)."
        )


def by_needs(structure: str) -> list[str]:
    """Names of the hand-made optimizers with a rate that need this structure of a loss."""
    return [name for name in tunable() if OPTIMIZERS[name].needs == structure]


def _check_structure(entry: Entry, task: "AbstractTask") -> None:
    """Refuse a task without the structure of loss that an optimizer needs; nothing is computed."""
    import equinox as eqx
    import jax.random as jr

    from ..core import loss
    from ..core.task import draw

    def first(key: "Key") -> None:
        found = draw(task, task.sample(key), key, split="train").loss()
        loss.expect(found, getattr(loss, entry.needs), entry.load().__name__)

    eqx.filter_eval_shape(first, jr.key(0))
