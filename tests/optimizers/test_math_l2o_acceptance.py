"""Math-L2O against code of other people: PyTorch's LSTM, optax, finite differences, Hessians."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import optax
import pytest

from steppe.core.episode import begin, unroll
from steppe.core.loss import AbstractLoss, Composite, LeastSquares
from steppe.core.optimizer import join_meta, split_meta
from steppe.core.regularizer import L1, ElasticNet, Zero
from steppe.optimizers.classic.proximal import ISTA
from steppe.optimizers.learned.math_l2o import Coefficients, MathL2O, structured_step
from steppe.tasks.inverse.family import Family
from steppe.tasks.inverse.logistic import SparseLogistic
from steppe.tasks.inverse.optimum import optimum
from steppe.tasks.inverse.recovery import SparseRecovery

KEY = jr.key(4)
TASK = SparseRecovery(rows=6, n=10, weight=0.05, start="normal")
LOSS = TASK.loss(TASK.sample(KEY), (), KEY)
WIDTH, PARTS = 20, ("p", "a", "b", "b1", "b2")


# The published network, in PyTorch.


def published(torch):
    """MS4L2O's: two layers of an LSTM, one more with ReLU, a head for each part."""
    torch.manual_seed(118)
    nn = torch.nn
    lstm, mixing = nn.LSTM(2, WIDTH, 2), nn.Linear(WIDTH, WIDTH)
    heads = nn.ModuleList([nn.Linear(WIDTH, 1) for _ in PARTS])
    return nn.ModuleList([lstm, mixing, heads]).double()


def ours(net):
    """The same weights as steppe has them: gates i, g, f, o, one bias, 1 added to that of f."""
    lstm, mixing, heads = net
    array = lambda tensor: jnp.asarray(tensor.detach().numpy())
    order = np.concatenate([np.arange(WIDTH) + WIDTH * k for k in (0, 2, 1, 3)])
    opt = MathL2O(PARTS, key=KEY)
    for k in range(2):
        of = lambda name, k=k: array(getattr(lstm, f"{name}_l{k}"))
        w = jnp.concatenate([of("weight_ih"), of("weight_hh")], axis=1).T[:, order]
        b = (of("bias_ih") + of("bias_hh"))[order] - jnp.repeat(jnp.array([0.0, 0, 1, 0]), WIDTH)
        opt = eqx.tree_at(
            lambda o, k=k: (o.lstm.layers[k].w_gates, o.lstm.layers[k].b_gates), opt, (w, b)
        )
    head = [jnp.concatenate([array(h.weight) for h in heads]).T,
            jnp.concatenate([array(h.bias) for h in heads])]  # fmt: skip
    where = lambda o: (o.mixing.w, o.mixing.b, o.heads.w, o.heads.b)
    return eqx.tree_at(where, opt, (array(mixing.weight).T, array(mixing.bias), *head))


def test_twenty_steps_are_those_of_the_published_network():
    torch = pytest.importorskip("torch")
    net = published(torch)
    assert sum(p.numel() for p in net.parameters()) == 5805
    opt = ours(net)
    theta = jtu.tree_leaves(split_meta(opt)[0])
    assert sum(leaf.size for leaf in theta) == 5805 - 2 * 4 * WIDTH  # two biases of a gate are one
    first = begin(TASK, opt, KEY)
    found = unroll(TASK, opt, first, 20, lambda step: step.after.params)[1]

    loss = TASK.loss(first.instance, (), KEY)
    tensor = lambda x: torch.from_numpy(np.array(x))
    A, b, rho = tensor(loss.smooth.A), tensor(loss.smooth.b), 0.05
    base, slope = 0.9999 / float(loss.lipschitz), lambda x: A.T @ (A @ x - b)
    lstm, mixing, heads = net
    x = y = tensor(first.params)
    state = tuple(torch.zeros(2, 10, WIDTH, dtype=torch.float64) for _ in range(2))
    expected = []
    with torch.no_grad():
        for _ in range(20):
            seen = torch.stack([slope(y), y], dim=1)[None]
            h, state = lstm(seen, state)
            raw = [head(torch.relu(mixing(h[0])))[:, 0] for head in heads]
            P, A2, B = (2 * torch.sigmoid(r) for r in raw[:3])
            P = base * P
            z = B * (y - P * slope(y)) + (1 - B) * (x - P * slope(x)) + raw[3]
            after = torch.sign(z) * torch.relu(z.abs() - rho * P)
            x, y = after, after + A2 * (after - x) + raw[4]
            expected.append(x.numpy())
    np.testing.assert_allclose(found, expected, atol=1e-6)


# Special cases.


def test_without_a_regularizer_it_is_nesterovs_momentum():
    """optax keeps the point ahead."""
    loss, beta, y = Composite(LOSS.smooth, Zero(), LOSS.lipschitz), 0.7, jnp.ones(10)
    how = Coefficients(jnp.full(10, 1 / loss.lipschitz), jnp.full(10, beta))
    tx = optax.sgd(1 / loss.lipschitz, momentum=beta, nesterov=True)

    @jax.jit
    def both(x, y, theirs, state):
        after, ahead = structured_step(loss, x, y, jax.grad(loss.smooth)(y), how)
        updates, state = tx.update(jax.grad(loss)(theirs), state)
        return after, after + ahead, theirs + updates, state

    x, theirs, state = y, y, tx.init(y)
    for _ in range(50):
        x, y, theirs, state = both(x, y, theirs, state)
        np.testing.assert_allclose(y, theirs, atol=1e-12)


def test_a_smooth_problem_is_solved_by_the_learned_rule():
    A = np.random.default_rng(0).normal(size=(12, 6))
    measure = lambda key: jr.normal(key, (12,))
    task = Family(measure, lambda b: LeastSquares(jnp.asarray(A), b), L1(0.0))
    opt = MathL2O(hidden=(2,), monotone=True, key=KEY)
    first = begin(task, opt, KEY)
    last, _ = unroll(task, opt, first, 300, lambda step: ())
    loss = task.loss(first.instance, (), KEY)
    A, b = np.asarray(loss.smooth.A), np.asarray(loss.smooth.b)
    np.testing.assert_allclose(last.params, np.linalg.lstsq(A, b)[0], atol=1e-6)


# Meta-gradients.


class Told(eqx.Module):
    """A problem of one loss."""

    told: Composite

    def loss(self):
        return self.told


class Constant(AbstractLoss):
    """½‖Ax − b‖² whose gradient is a constant to whoever differentiates again."""

    loss: LeastSquares

    def __call__(self, x):
        stop = jax.lax.stop_gradient
        slope = stop(jax.grad(self.loss)(stop(x)))
        return stop(self.loss(x) - slope @ x) + slope @ x


def test_meta_gradients_are_finite_differences_and_go_through_the_slope():
    """A stop at ∇f(y) changes them by more than a hundredth."""
    opt = MathL2O(hidden=(3,), live=True, key=KEY)
    theta, rest = split_meta(opt)
    still = Composite(Constant(LOSS.smooth), LOSS.regularizer, LOSS.lipschitz)

    def after(theta, loss):
        opt, x = join_meta(theta, rest), jnp.linspace(-1, 1, 10)

        def step(at, _):
            x, state = at
            move, state = opt.update(x, state, x, problem=Told(loss))
            return (x + move, state), None

        return LOSS(jax.lax.scan(step, (x, opt.init(x)), length=5)[0][0])

    slopes = jax.jit(jax.grad(lambda theta: after(theta, LOSS)))(theta)
    stopped = jax.jit(jax.grad(lambda theta: after(theta, still)))(theta)
    value = jax.jit(lambda theta: after(theta, LOSS))
    keys = jr.split(KEY, len(jtu.tree_leaves(theta)))
    along = jtu.tree_unflatten(
        jtu.tree_structure(theta),
        [jr.normal(k, x.shape) for k, x in zip(keys, jtu.tree_leaves(theta), strict=True)],
    )
    dot = lambda g: float(
        sum(jnp.vdot(a, b) for a, b in zip(*map(jtu.tree_leaves, (g, along)), strict=True))
    )
    ends = [
        float(value(jtu.tree_map(lambda t, d, h=h: t + h * d, theta, along))) for h in (1e-6, -1e-6)
    ]
    assert dot(slopes) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5)
    assert float(value(theta)) == float(jax.jit(lambda theta: after(theta, still))(theta))
    assert abs(dot(stopped) / dot(slopes) - 1) > 0.01


# Proximal maps and constants.

RNG = np.random.default_rng(0)
Z, T = RNG.normal(0, 2, 10_000), RNG.uniform(0.01, 3, 10_000)


@pytest.mark.parametrize("r", [L1(0.7), ElasticNet(0.7, 0.3)])
def test_moreaus_identity_in_a_diagonal_metric(r):
    """z = prox_{r,P}(z) + P prox_{r*,1/P}(z/P), the conjugates' maps in closed form."""
    u = Z / T
    if isinstance(r, L1):  # r* is 0 on |u| ≤ w
        other = np.clip(u, -0.7, 0.7)
    else:  # r*(u) = max(|u| − l1, 0)²/(2 l2)
        s = 1 / T
        other = np.where(np.abs(u) <= 0.7, u, (u + s * 0.7 * np.sign(u) / 0.3) / (1 + s / 0.3))
    found = np.asarray(r.prox(jnp.asarray(Z), jnp.asarray(T)))
    np.testing.assert_allclose(found + T * other, Z, atol=1e-12)


def test_proximal_maps_are_those_of_pyproximal():
    pyproximal = pytest.importorskip("pyproximal")
    z = Z[:60]
    peers = [(L1(0.7), pyproximal.L1(sigma=0.7)),
             (ElasticNet(0.7, 0.3), pyproximal.ElasticNet(0.7, 0.3))]  # fmt: skip
    for r, peer in peers:
        np.testing.assert_allclose(r.prox(jnp.asarray(z), 1.3), peer.prox(z, 1.3), atol=1e-12)


def test_the_constant_of_logistic_regression_bounds_its_curvature_and_ista_is_done_in_ten_steps():
    """The published code takes ‖A‖, at 1000 × 50 a hundred times as much."""
    task = SparseLogistic(rows=1000, n=50, weight=0.1)
    first = begin(task, ISTA(), KEY)
    loss = task.loss(first.instance, (), KEY)
    hessian = jax.jit(jax.hessian(loss.smooth))
    points = [
        size * jr.normal(jr.fold_in(KEY, k), (50,)) for k, size in enumerate([0, 0.1, 1.0] * 17)
    ][:50]
    largest = max(float(np.linalg.eigvalsh(np.asarray(hessian(x)))[-1]) for x in points)
    L = float(loss.lipschitz)
    assert largest == pytest.approx(L) and largest <= L * (1 + 1e-12)  # at 0 it is attained
    assert 90 < np.linalg.norm(np.asarray(first.instance.A), 2) / L < 120
    last, _ = unroll(task, ISTA(), first, 10, lambda step: ())
    best = optimum(loss).value
    assert float(loss(last.params)) - best <= 1e-6 * best


def test_where_nothing_was_measured_the_minimum_is_zero_and_stays():
    """b = 0: no gap to divide by, no step that is not a number."""
    loss = Composite(LeastSquares(LOSS.smooth.A, jnp.zeros(6)), L1(0.05), LOSS.lipschitz)
    assert optimum(loss).value == 0
    opt, x = MathL2O(hidden=(2,), monotone=True, key=KEY), jnp.zeros(10)
    move, state = eqx.filter_jit(opt.update)(x, opt.init(x), x, problem=Told(loss))
    assert (move == 0).all() and (state.ahead == 0).all()


def test_a_loss_without_parts_is_refused():
    from steppe.tasks import Quadratic

    task = Quadratic(n=3)
    opt = MathL2O(hidden=(2,), key=KEY)
    with pytest.raises(TypeError, match=r"MathL2O needs a loss of the form Composite\(smooth"):
        unroll(task, opt, begin(task, opt, KEY), 1, lambda step: ())
    with pytest.raises(ValueError, match="MathL2O needs the problem that it solves"):
        opt.update(jnp.ones(3), opt.init(jnp.ones(3)), jnp.ones(3))
