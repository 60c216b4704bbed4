"""Odd arguments of everything in steppe.certificates: one sentence, before anything runs."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from reference.parabola import Parabola, Step

import steppe
from steppe.certificates import bounds, pac_bayes
from steppe.certificates.audit import verify
from steppe.certificates.certify import certify
from steppe.certificates.claims import Holds, Iterations, MeanIterations, Quantile, Success
from steppe.certificates.episodes import Episodes
from steppe.certificates.pac_bayes import Finite
from steppe.certificates.plan import plan
from steppe.certificates.randomised import certify_randomised, task_keys
from steppe.certificates.runs import Calls, FixedPoint, Metric

NAN, INF = float("nan"), float("inf")
NO_NUMBER = ["0.1", None, NAN, INF, -INF, True, np.True_, 1j, [0.1], 10**400, object()]
NO_NUMBERS = [[x] for x in NO_NUMBER]
NO_COUNT = [*NO_NUMBER, 1.5, 2.0, np.float64(2), -1, 10**18]
NO_SHARE = [*NO_NUMBER, 0, 0.0, 1, 1.0, -0.1, 2.0]
NO_WORD = ["guess", "", None, 3, NAN, ["kl"], {"kl"}, b"kl"]
NO_LIST = ["0.1", b"1", 0.1, None, 7]


def never(rng):
    pytest.fail("it ran")


WAY = {"steps": 5, "tolerances": [0.1], "levels": [0.5], "n": 20, "delta": 0.1}
CERTIFY = functools.partial(certify, never)
RATE = functools.partial(jnp.asarray, dtype=jnp.float32)
RANDOMISED = functools.partial(
    certify_randomised, Finite([Step(RATE(-2.0)), Step(RATE(-1.0))]), Parabola(), task_keys(0, 9)
)
ONE = Finite([Step(RATE(-1.0))])
RUN = {"task": Parabola(), "opt": optax.sgd(0.1)}
MAP = {"sample": np.ones(3), "start": abs, "map": max}
SURE = {"steps": 5, "metric": "size", "tolerances": [0.1], "delta": 0.1}
PLAN = functools.partial(plan, [Success(0.1, 3), Iterations(0.5, 0.1)])

ODD = [
    (CERTIFY, WAY, "steps", [*NO_COUNT, 0]),
    (CERTIFY, WAY, "n", [*NO_COUNT, 0]),
    (CERTIFY, WAY, "seed", [*NO_COUNT, 2**32]),
    (CERTIFY, WAY, "batch", [*NO_COUNT, 0]),
    (CERTIFY, WAY, "candidates", [*NO_COUNT, 0]),
    (CERTIFY, WAY, "stage", [x for x in NO_COUNT if x is not None] + [0, 65, 40]),
    (CERTIFY, WAY, "delta", [*NO_SHARE, 1e-320, np.float64(1)]),
    (CERTIFY, WAY, "method", [*NO_WORD, "dkw", "pac_bayes"]),
    (CERTIFY, WAY, "simultaneous", NO_WORD),
    (CERTIFY, WAY, "semantics", NO_WORD),
    (CERTIFY, WAY, "repeats", ["no", None, 1, 0.0]),
    (CERTIFY, WAY, "say", ["no", None, 1]),
    (CERTIFY, WAY, "tolerances", [*NO_LIST, *NO_NUMBERS, [0.1, -1.0], [0.0], [0.1] * 2]),
    (CERTIFY, WAY, "levels", [*NO_LIST, *[[x] for x in NO_SHARE], [0.5, 0.5], [1 - 1e-12]]),
    (CERTIFY, WAY, "at", [*NO_LIST, *[[x] for x in NO_COUNT], [6], [3, 3], range(10**6)]),
    (CERTIFY, WAY, "at", [itertools.count()]),
    (CERTIFY, WAY, "claims", [*NO_LIST, [3], [Success], [Success(0.1, 9)], [Success(0.1, 5)]]),
    (CERTIFY, WAY, "metric", ["loss", 3, []]),
    (PLAN, {"delta": 0.1, "n": 20}, "n", [*NO_COUNT, 0]),
    (PLAN, {"delta": 0.1, "n": 20}, "delta", NO_SHARE),
    (PLAN, {"delta": 0.1, "n": 20}, "method", NO_WORD),
    (RANDOMISED, SURE, "steps", [*NO_COUNT, 0]),
    (RANDOMISED, SURE, "seed", [*NO_COUNT, 2**32]),
    (RANDOMISED, SURE, "batch", [*NO_COUNT, 0]),
    (RANDOMISED, SURE, "pairs", [*NO_COUNT, 0]),
    (RANDOMISED, SURE, "delta", NO_SHARE),
    (RANDOMISED, SURE, "tolerances", [*NO_LIST, *[[x] for x in NO_NUMBER], [0.0], [0.1] * 2]),
    (RANDOMISED, SURE, "at", [*NO_LIST, *[[x] for x in NO_COUNT], [6]]),
    (RANDOMISED, SURE, "claims", [*NO_LIST, [3], [Quantile(0.5, 3)]]),
    (RANDOMISED, SURE, "metric", ["gap", 3, None]),
    (RANDOMISED, SURE, "trained_prior", ["no", None, 1]),
    (Success, {"tolerance": 0.1, "k": 3}, "tolerance", NO_NUMBER),
    (Success, {"tolerance": 0.1, "k": 3}, "k", NO_COUNT),
    (Quantile, {"level": 0.5, "k": 3}, "level", NO_SHARE),
    (Quantile, {"level": 0.5, "k": 3}, "k", NO_COUNT),
    (Iterations, {"level": 0.5, "tolerance": 1.0}, "level", NO_SHARE),
    (Iterations, {"level": 0.5, "tolerance": 1.0}, "tolerance", NO_NUMBER),
    (Iterations, {"level": 0.5, "tolerance": 1.0}, "semantics", NO_WORD),
    (MeanIterations, {"tolerance": 1.0}, "tolerance", NO_NUMBER),
    (MeanIterations, {"tolerance": 1.0}, "semantics", NO_WORD),
    (Holds, {"name": "so", "holds": bool}, "name", ["", None, 3, "a\nb", "\x1b[2J", "a" * 2001]),
    (Holds, {"name": "so", "holds": bool}, "holds", ["so", None, 3]),
    (Metric, {"name": "a", "definition": "b"}, "name", ["", None, 3, "a\nb", "\ud800", "a" * 2001]),
    (Metric, {"name": "a", "definition": "b"}, "definition", [None, 3, "\ud800"]),
    (Metric, {"name": "a", "definition": "b"}, "unit", [None, 3]),
    (Metric, {"name": "a", "definition": "b"}, "signed", [None, 3, "no"]),
    (bounds.clopper_pearson, {"failures": 1, "n": 9, "delta": 0.1}, "failures", [*NO_COUNT, 10]),
    (bounds.clopper_pearson, {"failures": 1, "n": 9, "delta": 0.1}, "n", [*NO_COUNT[:-1], 0]),
    (bounds.clopper_pearson, {"failures": 1, "n": 9, "delta": 0.1}, "delta", NO_SHARE),
    (bounds.failure_bound, {"failures": 1, "n": 9, "delta": 0.1}, "method", NO_WORD),
    (bounds.mean_bound, {"mean": 0.1, "n": 9, "delta": 0.1}, "mean", [*NO_NUMBER, -0.1, 1.1]),
    (bounds.mean_bound, {"mean": 0.1, "n": 9, "delta": 0.1}, "method", NO_WORD),
    (bounds.hoeffding, {"mean": 0.1, "n": 9, "delta": 0.1}, "mean", [*NO_NUMBER, -0.1, 1.1]),
    (bounds.dkw, {"n": 9, "delta": 0.1}, "delta", [*NO_SHARE, 0.6]),
    (bounds.order_rank, {"level": 0.5, "n": 9, "delta": 0.1}, "level", NO_SHARE),
    (bounds.order_rank, {"level": 0.5, "n": 9, "delta": 0.1}, "n", [*NO_COUNT[:-1], 0]),
    (bounds.min_samples, {"level": 0.5, "delta": 0.1}, "delta", NO_SHARE),
    (pac_bayes.budget, {"divergence": 1.0, "n": 9, "delta": 0.1}, "divergence", [*NO_NUMBER, -1.0]),
    (pac_bayes.budget, {"divergence": 1.0, "n": 9, "delta": 0.1}, "n", [*NO_COUNT[:-1], 7]),
    (pac_bayes.budget, {"divergence": 1.0, "n": 9, "delta": 0.1}, "grid", [[0], [1.5], ["1"]]),
    (pac_bayes.risk_bound, {"seen": 0.1, "budget": 0.1}, "seen", [*NO_NUMBER, -0.1, 1.1]),
    (pac_bayes.risk_bound, {"seen": 0.1, "budget": 0.1}, "budget", [*NO_NUMBER, -0.1]),
    (Finite, {"members": [Step(RATE(0.0))]}, "prior", [[0.5], [NAN], ["1"], [True], [0.5] * 2]),
    (Finite, {"members": [Step(RATE(0.0))]}, "members", [[], [3], 3, None, "ab"]),
    (task_keys, {"seed": 0, "n": 3}, "n", [*NO_COUNT, 0]),
    (task_keys, {"seed": 0, "n": 3}, "seed", [*NO_COUNT, 2**32]),
    (Calls, {"solve": never}, "solve", [None, 3, "f"]),
    (Episodes, RUN, "task", [None, 3, "quadratic", Parabola]),
    (Episodes, RUN, "opt", [None, 3, "sgd", optax.sgd]),
    (Episodes, RUN, "metric", [None, 3, "losss", [], {}, b"loss"]),
    (Episodes, RUN, "split", [None, 3, "tests", []]),
    (Episodes, RUN, "tasks", [3, "a", [1, 2], np.ones(3), jax.random.key(0)]),
    (Episodes, RUN | {"tasks": task_keys(0, 3)}, "trained_on", [3, "a", np.ones(3)]),
    (FixedPoint, MAP, "sample", [None, 3, "a", [], np.ones(()), {"a": "b"}]),
    (FixedPoint, MAP, "start", [None, 3, "a"]),
    (FixedPoint, MAP, "map", [None, 3, "a"]),
    (FixedPoint, MAP | {"metric": Metric("a", "b")}, "error", [None, 3, "a"]),
    (FixedPoint, MAP | {"error": max}, "metric", [None, 3, "a"]),
    (FixedPoint, MAP, "clusters", [3, "a", [1], np.ones((3, 2)), [None] * 3]),
    (RANDOMISED.func, SURE | {"posterior": ONE, "tasks": task_keys(0, 9)}, "task", [None, 3, "a"]),
    (RANDOMISED.func, SURE | {"posterior": ONE, "task": Parabola()}, "tasks", [None, 3, [], ""]),
    (RANDOMISED.func, SURE | {"task": Parabola(), "tasks": task_keys(0, 9)}, "posterior", [3, []]),
    (verify, {}, "cert", [None, 3, "a", {}]),
    (steppe.certificates.load, {}, "path", ["", ".", "nowhere", "a\0b", "a" * 270]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "way", "name", "odd"),
    [pytest.param(*row, id=f"{i}-{row[2]}") for i, row in enumerate(ODD)],
)
def test_odd_arguments_are_refused(call, way, name, odd):
    for given in odd:
        with pytest.raises(ValueError) as caught:
            call(**way | {name: given})
        message = str(caught.value)
        assert message[-1] in ".?" and "\n" not in message and len(message) < 400, message


def test_numbers_of_other_types_pass():
    solve = lambda rng: rng.uniform(size=6)
    way = {
        "steps": np.int32(5),
        "tolerances": np.array([0.9], np.float32),
        "levels": (x for x in (np.float64(0.5),)),
        "n": np.int64(20),
        "seed": np.uint8(3),
        "candidates": np.int16(1),
        "delta": np.float32(0.1),
        "repeats": False,
    }
    cert = certify(solve, **way)
    assert steppe.certificates.verify(cert) == []
    assert type(cert.n) is int and type(cert.claims[0]["tolerance"]) is float
