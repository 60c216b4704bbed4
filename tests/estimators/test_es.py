"""ES and PES against closed forms: gradient descent on ½x² from x₀ = 1, θ the learning rate.

One window of L steps multiplies x² by (1 − θ)^{2L}; over ε its mean is M(θ) = E (1 − θ − ε)^{2L}.
With the last loss of each window as the objective, K windows an episode, x² = s before a window:

    ES      ½ s M'(θ),  s = (1 − θ)^{2L(k−1)}      what happens in this window alone
    PES     ½ k M^{k−1} M'                          Σ_k: the gradient of the whole smoothed loss
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.core.task import AbstractFormula
from steppe.estimators.bptt import BPTT
from steppe.estimators.es import ES, PES
from steppe.objectives.trajectory import Trajectory
from steppe.optimizers.classic.from_optax import sgd

LR, SIGMA, L, K, PAIRS = 0.3, 0.1, 2, 3, 4096
LAST = Trajectory("last", "identity", "fresh")


class Parabola(AbstractFormula):
    def sample(self, key):
        return ()

    def init(self, instance, key):
        return jnp.ones(())

    def loss(self, instance, batch, key):
        return lambda params: 0.5 * params**2

    def target(self, instance):
        return None

    def metrics(self, params, instance, batch, key):
        return {}


@eqx.filter_jit
def call(estimator, opt, state, key):
    return estimator(Parabola(), opt, state, LAST, key=key)


def windows(estimator, opt=None, calls=K):
    """The gradient and its statistics window by window."""
    opt = sgd(LR) if opt is None else opt
    state, rows = estimator.init(Parabola(), opt, LAST, key=jr.key(0)), []
    for k in range(calls):
        grads, state, stats = call(estimator, opt, state, jr.key(k + 1))
        rows.append((float(jax.tree_util.tree_leaves(grads)[0]), stats))
    return rows, state


def moment(steps):
    """M and M' by quadrature; exact, for the integrand is a polynomial."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    weights, r = weights / weights.sum(), 1 - LR - SIGMA * nodes
    return weights @ r ** (2 * steps), weights @ (-2 * steps * r ** (2 * steps - 1))


def settings(kind, length=L, **options):
    return kind(PAIRS, length, L * K, sigma=SIGMA, stagger=False, together=PAIRS, **options)


@pytest.fixture(scope="module")
def es():
    return windows(settings(ES))[0]


@pytest.fixture(scope="module")
def pes():
    return windows(settings(PES))[0]


def test_over_the_whole_horizon_es_is_the_gradient_of_the_smoothed_loss():
    (grad, stats), *_ = windows(settings(ES, L * K), calls=1)[0]
    expected = 0.5 * moment(L * K)[1]
    assert abs(grad - expected) < 4 * stats.grad_error
    assert stats.grad_error < 0.1 * abs(expected)


@pytest.mark.parametrize("k", range(K))
def test_es_sees_its_own_window_alone(es, k):
    grad, stats = es[k]
    expected = 0.5 * (1 - LR) ** (2 * L * k) * moment(L)[1]
    assert abs(grad - expected) < 4 * stats.grad_error
    assert stats.grad_error < 0.1 * abs(expected)


@pytest.mark.parametrize("k", range(K))
def test_pes_answers_for_every_perturbation_since_the_beginning(pes, k):
    grad, stats = pes[k]
    M, slope = moment(L)
    expected = 0.5 * (k + 1) * M**k * slope
    assert abs(grad - expected) < 4 * stats.grad_error
    assert stats.grad_error < 0.1 * abs(expected)


def test_short_windows_bias_bptt_and_es_but_not_pes(es, pes):
    M, slope = moment(L)
    whole = 0.5 * sum((k + 1) * M**k * slope for k in range(K)) / K
    mean = lambda rows: np.mean([grad for grad, _ in rows])
    error = np.sqrt(sum(float(s.grad_error) ** 2 for _, s in pes)) / K
    bptt = windows(BPTT(1, L, L * K, stagger=False, second_order=True))[0]
    assert abs(mean(pes) - whole) < 4 * error
    assert abs(mean(es) - whole) > 10 * error
    assert abs(mean(bptt) - whole) > 10 * error


def test_both_runs_of_a_pair_are_counted(es, pes):
    carried = [int(stats.inner_steps) for _, stats in es]
    assert carried == [3 * PAIRS * L] * (K - 1) + [2 * PAIRS * L]  # the last is not carried on
    assert [int(stats.inner_steps) for _, stats in pes] == [2 * PAIRS * L] * K


def test_an_episode_that_ended_forgets_its_perturbations():
    rows, state = windows(PES(2, L, L, sigma=SIGMA, stagger=False), calls=2)
    assert int(rows[1][1].resets) == 2
    last = jnp.max(jnp.abs(jax.tree_util.tree_leaves(state.total)[0]))
    alone = PES(2, L, L, sigma=SIGMA, stagger=False)
    fresh = alone.init(Parabola(), sgd(LR), LAST, key=jr.key(0))
    _, after, _ = call(alone, sgd(LR), fresh, jr.key(2))  # the second call's key
    assert last == jnp.max(jnp.abs(jax.tree_util.tree_leaves(after.total)[0]))


@pytest.mark.parametrize("kind", [ES, PES])
def test_pairs_that_are_not_finite_are_counted_and_begun_afresh(kind):
    rows, _ = windows(kind(2, L, L * K, sigma=SIGMA, stagger=False), sgd(1e300), calls=2)
    assert [int(stats.nonfinite) for _, stats in rows] == [2, 2]
    assert [int(stats.resets) for _, stats in rows] == [0, 2]
    assert np.isnan(float(rows[0][1].loss)) and rows[0][0] == 0


@pytest.mark.parametrize("kind", [ES, PES])
@pytest.mark.parametrize("bad", [{"sigma": 0.0}, {"length": 0}, {"episodes": 0}])
def test_what_cannot_be_is_refused(kind, bad):
    with pytest.raises(ValueError, match=f"{kind.__name__}: {next(iter(bad))} must be"):
        kind(**bad)
