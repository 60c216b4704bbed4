"""Located: the entropy of where the minimum is, against NumPy, and its gradient."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.core.window import open_window, score
from steppe.objectives.swarm import Located, Samples
from steppe.objectives.trajectory import Trajectory
from steppe.optimizers.classic.from_optax import sgd
from steppe.tasks.suite import build

KEY = jr.key(0)
OBJECTIVE = Located(Trajectory("sum", "identity"), weight=0.5, samples=7, places=50)
RNG = np.random.default_rng(0)
X, F = RNG.normal(size=(7, 2)) * 1.5, RNG.normal(size=7) * 20 + 30


def by_hand(x, f, key, noise=2.1):
    """h of these samples."""
    f = (f - f.mean()) / f.std()
    z = np.asarray(jr.uniform(key, (50, 2))) * (x.max(0) - x.min(0)) + x.min(0)
    kernel = lambda a, b: np.exp(-np.sum((a[:, None] - b[None]) ** 2, -1) / 2)
    fitted = kernel(z, x) @ np.linalg.inv(kernel(x, x) + noise * np.eye(len(x))) @ f

    def shannon(rho):
        p = np.exp(-rho * fitted)
        p = p / p.sum()
        return -np.sum(p * np.log(p))

    first = shannon(np.exp(np.sqrt(len(x)) / np.log(50)))
    return shannon(np.exp(np.sqrt(len(x)) / first))


def entropy(x, f):
    return OBJECTIVE.entropy(Samples(jnp.asarray(x), jnp.asarray(f)), KEY)


def test_the_entropy_is_that_of_a_gaussian_process():
    assert float(entropy(X, F)) == pytest.approx(by_hand(X, F, KEY), rel=1e-10)
    assert 0.5 < by_hand(X, F, KEY) < np.log(50) - 0.05  # neither nothing nor all is known
    # Places are drawn where the swarm has been, and losses count in units of their spread.
    moved = float(entropy(3 * X[0] + X, 5 * F - 100))
    assert moved == pytest.approx(by_hand(X, F, KEY), rel=1e-8)


def test_samples_that_are_missing_or_no_numbers_have_no_say():
    x, f = np.concatenate([X[:4], 9 * X[4:]]), np.array([*F[:4], np.inf, np.nan, np.inf])
    assert float(entropy(x, f)) == pytest.approx(by_hand(X[:4], F[:4], KEY), rel=1e-10)
    nothing = float(entropy(X, np.full(7, np.inf)))
    assert nothing == pytest.approx(np.log(50), rel=1e-12)


def test_its_gradient_is_that_of_finite_differences():
    """ρ, the box and the units are constants, so that they are held in the differences too."""
    low, high = jnp.asarray(X.min(0)), jnp.asarray(X.max(0))
    z = jr.uniform(KEY, (50, 2)) * (high - low)[None] + low[None]
    every = jnp.ones(7, bool)
    spread, rho = F.std(), 1.7

    def h(x, f):
        fitted = OBJECTIVE.interpolated(z, x, (f - jnp.mean(f)) / spread, every)
        log_p = jax.nn.log_softmax(-rho * fitted)
        return -jnp.sum(jnp.exp(log_p) * log_p)

    v, w, step = RNG.normal(size=X.shape), RNG.normal(size=7) * 10, 1e-5
    ends = [float(h(X + a * step * v, F + a * step * w)) for a in (1, -1)]
    gx, gf = jax.grad(h, (0, 1))(jnp.asarray(X), jnp.asarray(F))
    slope = float(np.sum(gx * v) + np.sum(gf * w))
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-3)
    assert abs(slope) > 1e-4
    # The objective's own, with its ρ: both gradients point the same way, sample by sample.
    own = jax.grad(lambda x, f: entropy(x, f), (0, 1))(jnp.asarray(X), jnp.asarray(F))
    assert all(np.isfinite(g).all() and np.any(g != 0) for g in own)


def test_an_unroll_adds_it_and_remembers_the_newest_samples_of_the_episode():
    task, opt = build("rastrigin-shifted", particles=2), sgd(0.01)
    window = open_window(task, opt, OBJECTIVE, KEY, jnp.asarray(4))
    found, after = score(task, opt, window, OBJECTIVE, 2, key=KEY)
    base = score(task, opt, open_window(task, opt, OBJECTIVE.base, KEY, jnp.asarray(4)),
                 OBJECTIVE.base, 2, key=jr.split(KEY)[0])[0]  # fmt: skip
    h = float(found.parts["entropy"])
    assert float(found.value) == pytest.approx(float(base.value) + 0.5 * h, rel=1e-12)
    known = found.memo[1]
    assert np.isfinite(known.f).tolist() == [False] * 3 + [True] * 4
    np.testing.assert_allclose(known.x[-2:], after.episode.params[:, 0], rtol=1e-12)
    later, end = score(task, opt, after, OBJECTIVE, 2, key=KEY)
    assert np.isfinite(later.memo[1].f).all()
    np.testing.assert_allclose(later.memo[1].x[:3], known.x[-3:], rtol=1e-12)
    np.testing.assert_allclose(later.memo[1].x[-2:], end.episode.params[:, 0], rtol=1e-12)


def test_a_task_without_particles_is_refused():
    with pytest.raises(TypeError, match="Located needs a loss of the form Stacked"):
        open_window(build("bowl-1"), sgd(0.1), OBJECTIVE, KEY, jnp.asarray(2))


def test_no_call_of_lapack_is_in_its_program():
    """In a program of several devices such a call may wait for ever for sums over the devices."""
    slope = jax.jit(jax.grad(lambda x: entropy(x, F)))
    assert "lapack" not in slope.lower(jnp.asarray(X)).as_text()
