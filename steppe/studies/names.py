"""The table of studies. Standard library only, so that help need not wait for JAX."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from ..core.messages import did_you_mean

if TYPE_CHECKING:
    from .study import Study

SEE = "`steppe reproduce --help`"


class Entry(NamedTuple):
    """A study as the command line knows it."""

    question: str
    scales: str  # "module:NAME" in this package: scale → settings; standard library only
    study: str  # "module:NAME" in this package: the `Study`


STUDIES = {
    "flatness": Entry(
        "Does flatness-aware meta-training make trained models generalise?",
        "flatness.scales:SCALES",
        "flatness.reproduce:STUDY",
    ),
    "flatness.search": Entry(
        "Which weight has each penalty, and which one are the claims about?",
        "flatness.scales:SCALES",
        "flatness.search:STUDY",
    ),
    "flatness-2": Entry(
        "Does curvature in meta-training help beyond the size of the weights?",
        "flatness_2.scales:SCALES",
        "flatness_2.reproduce:STUDY",
    ),
    "small-rule": Entry(
        "Is a learned rule of a few hundred weights as good as what is made by hand?",
        "small_rule.design:SCALES",
        "small_rule.reproduce:STUDY",
    ),
    "wells": Entry(
        "Does a flatness regularizer reach an optimizer, with the right sign?",
        "wells.settings:SCALES",
        "wells.wells:STUDY",
    ),
    "horizons": Entry(
        "Which meta-gradients find a long episode's best rate in short windows?",
        "horizons.settings:SCALES",
        "horizons.horizons:STUDY",
    ),
    "techniques": Entry(
        "Do curriculum and imitation make optimizers last beyond their horizon?",
        "techniques.settings:SCALES",
        "techniques.techniques:STUDY",
    ),
    "model-free": Entry(
        "What do learned optimizers gain on rugged functions, quadratics and networks?",
        "model_free.settings:SCALES",
        "model_free.model_free:STUDY",
    ),
    "jacobian": Entry(
        "Does HALO's regularizer keep gradients small, and what do sparse updates cost?",
        "jacobian.settings:SCALES",
        "jacobian.jacobian:STUDY",
    ),
    "swarms": Entry(
        "Does a swarm that learned to share what it sees find minima that others miss?",
        "swarms.settings:SCALES",
        "swarms.swarms:STUDY",
    ),
    "math-l2o": Entry(
        "Is a network that chooses the steps of a proximal scheme worth its time?",
        "math_l2o.settings:SCALES",
        "math_l2o.math_l2o:STUDY",
    ),
    "m-l2o": Entry(
        "Does an optimizer that was trained to adapt beat one that was not, and why?",
        "m_l2o.settings:SCALES",
        "m_l2o.m_l2o:STUDY",
    ),
    "symbolic": Entry(
        "Can an optimizer be read as a formula, does it do, and which term makes flat?",
        "symbolic.settings:SCALES",
        "symbolic.symbolic:STUDY",
    ),
    "llm-catalyst": Entry(
        "Does a language model that sees what was tried help gradients more than chance?",
        "llm_catalyst.settings:SCALES",
        "llm_catalyst.llm_catalyst:STUDY",
    ),
    "games": Entry(
        "Do learned rules play games well, and what does a guard promise and cost?",
        "games.settings:SCALES",
        "games.suite:STUDY",
    ),
    "lasso": Entry(
        "Do unrolled networks solve LASSO problems faster than FISTA with the right step?",
        "lasso.settings:SCALES",
        "lasso.lasso:STUDY",
    ),
    "sparse-recovery": Entry(
        "Which solver recovers sparse vectors best: unrolled networks or classical ones?",
        "sparse_recovery.settings:SCALES",
        "sparse_recovery.sparse_recovery:STUDY",
    ),
    "open-l2o": Entry(
        "What of the survey and benchmark of learning to optimize reproduces, and at what cost?",
        "open_l2o.settings:SCALES",
        "open_l2o.open_l2o:STUDY",
    ),
    "certificates": Entry(
        "What do certificates say of classical, learned and shipped solvers?",
        "certificates.settings:SCALES",
        "certificates.certificates:STUDY",
    ),
    "certificates.flatness": Entry(
        "How flat, and how well, do the shipped optimizers end on future tasks?",
        "certificates.settings:FLATNESS",
        "certificates.flatness:STUDY",
    ),
    "certificates.penalties": Entry(
        "Do flat optimizers pay a smaller PAC-Bayes penalty at equal risk?",
        "certificates.settings:PENALTIES",
        "certificates.penalties:STUDY",
    ),
    "symbolic.tuning": Entry(
        "Do a formula's numbers gain by meta-training, and does it stay good elsewhere?",
        "symbolic.sizes:TUNINGS",
        "symbolic.tuning:STUDY",
    ),
    "symbolic.scale": Entry(
        "Can a formula be meta-trained on a network where its teacher lacks the memory?",
        "symbolic.sizes:SIZES",
        "symbolic.scale:STUDY",
    ),
    "symbolic.certificate": Entry(
        "Is the PAC-Bayes bound of a formula worth more than that of its teacher?",
        "symbolic.sizes:CERTIFICATES",
        "symbolic.certificate:STUDY",
    ),
    "theory": Entry(
        "Do the statements of docs/theory.md hold by numbers?",
        "theory.settings:SCALES",
        "theory.table:STUDY",
    ),
    "shipped_weights": Entry(
        "How good are the shipped optimizers, trained and judged anew?",
        "shipped_weights.settings:SCALES",
        "shipped_weights.ship:STUDY",
    ),
    "shipped_weights.cifar10": Entry(
        "How do the shipped optimizers do on a ConvNet on CIFAR-10, with nothing tuned?",
        "shipped_weights.settings:ELSEWHERE",
        "shipped_weights.cifar10:STUDY",
    ),
    "shipped_weights.tries": Entry(
        "What makes a learned optimizer better than Adam where neither is tuned?",
        "shipped_weights.tries_design:SCALES",
        "shipped_weights.tries:STUDY",
    ),
    "guard": Entry(
        "Is a guarded optimizer safe where it was not trained, and what does that cost?",
        "guard.settings:SCALES",
        "guard.guard:STUDY",
    ),
    "speed.meta_step": Entry(
        "How fast is a meta-step, exact and sampled, beside PyTorch?",
        "speed.settings:META_STEP",
        "speed.meta_step:STUDY",
    ),
    "speed.torch_peer": Entry(
        "Which way to write the PyTorch peer is its fastest?",
        "speed.settings:TORCH_PEER",
        "speed.peers:STUDY",
    ),
    "speed.flatness": Entry(
        "How much time and memory does a flatness regularizer cost?",
        "speed.settings:FLATNESS",
        "speed.flatness:STUDY",
    ),
    "speed.curvature": Entry(
        "How exact are the curvature numbers beside a dense Hessian?",
        "speed.settings:CURVATURE",
        "speed.curvature:STUDY",
    ),
    "speed.deployed": Entry(
        "How fast is a step of a trained optimizer, and how large its memory?",
        "speed.settings:DEPLOYED",
        "speed.deployed:STUDY",
    ),
    "speed.formulas": Entry(
        "Does a step by a formula cost what Adam costs?",
        "speed.settings:FORMULAS",
        "speed.formulas:STUDY",
    ),
    "speed.lasso": Entry(
        "How long takes a LASSO problem of many, beside scikit-learn?",
        "speed.settings:LASSO",
        "speed.lasso:STUDY",
    ),
    "speed.presets": Entry(
        "How many inner steps a second does every preset take?",
        "speed.settings:PRESETS",
        "speed.presets:STUDY",
    ),
    "speed.compile_tensors": Entry(
        "Is L2O-Scale slower where the same coordinates are in more tensors?",
        "speed.settings:COMPILE_TENSORS",
        "speed.compile_tensors:STUDY",
    ),
    "speed.unrolled": Entry(
        "Is a meta-step of an unrolled network as fast as JAX written by hand?",
        "speed.settings:UNROLLED",
        "speed.unrolled:STUDY",
    ),
}


def entry(name: str) -> Entry:
    """The study of this name."""
    if name not in STUDIES:
        raise ValueError(f"There is no study {name!r}; {did_you_mean(name, STUDIES, see=SEE)}")
    return STUDIES[name]


def scales(name: str) -> dict[str, Any]:
    """The settings of a study at each of its scales. Standard library only."""
    return _named(entry(name).scales)


def study(name: str) -> "Study":
    """The study itself, with what it needs of JAX."""
    return _named(entry(name).study)


def _named(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(f"{__package__}.{module}"), name)
