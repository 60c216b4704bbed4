"""Every named measure is built with what its entry says it takes, and with nothing else."""

import pytest

from steppe.core.measure import AbstractMeasure
from steppe.flatness.entropy.local_entropy import LocalEntropy
from steppe.flatness.names import MEASURES, build


@pytest.mark.parametrize("name", MEASURES)
def test_every_name_makes_a_measure(name):
    given = {"gamma": 2.0, "temperature": 0.5, "probes": 3, "mean": True}
    options = {option: given[option] for option in MEASURES[name].tunable}
    made = build(name, **options)
    assert isinstance(made, AbstractMeasure)
    for option, value in options.items():
        assert getattr(made, option) == value
    with pytest.raises(ValueError, match=f"The measure {name} has no option 'rows'"):
        build(name, rows=3)


def test_mistakes_are_sentences():
    with pytest.raises(ValueError, match="no measure 'trce'; did you mean 'trace'"):
        build("trce")
    with pytest.raises(ValueError, match="gamma must be positive, got 0"):
        build("log-det", gamma=0.0)
    made = build("entropy", gamma=3.0)
    assert isinstance(made, LocalEntropy) and made.temperature == 1.0
