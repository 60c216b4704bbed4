"""Sizes that are no network's are refused in one sentence, before anything is allocated."""

import tracemalloc

import pytest

from steppe.optimizers.unrolled.coupled import ALISTA, LISTACP, TiLISTA
from steppe.optimizers.unrolled.lista import LFISTA, LISTA
from steppe.optimizers.unrolled.step_lista import StepLISTA

WRONG = {
    "no layers": (lambda: ALISTA(3, 5, layers=0), "ALISTA: layers must be at least 1, got 0"),
    "part of one": (lambda: LISTA(3, 5, layers=2.5), "layers"),
    "millions": (lambda: StepLISTA(layers=10**8), "layers must be a whole number from 1 to 65536"),
    "a billion": (lambda: LFISTA(3, 5, layers=10**9), "layers must be a whole number from 1 to"),
    "nothing": (lambda: TiLISTA(3, 5, layers=None), "layers must be a whole number"),
    "unknowns": (lambda: ALISTA(3, 2**21), "n must be a whole number from 1 to 1048576"),
    "matrices": (lambda: LISTACP(2**12, 2**13, layers=2**10), "give fewer layers, or a network"),
    "squares": (lambda: LISTA(2, 2**14, layers=2**10), "give fewer layers, or a network"),
}


@pytest.mark.parametrize("name", WRONG)
def test_they_are_refused_before_anything_is_allocated(name):
    make, said = WRONG[name]
    tracemalloc.start()
    with pytest.raises(ValueError, match=said) as caught:
        make()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "\n" not in str(caught.value) and peak < 2**20
