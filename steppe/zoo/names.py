"""The named recipes and the optimizers that come trained. Standard library only."""

from pathlib import Path

from ..core.entry import Entry, table

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
    )
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
    )
)
