"""The small MLP against a slow loop over each tensor, at the edges of what it takes.

Trajectories against JAX are in test_trajectories.py.
"""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'steppe[torch]'")

from steppe.torch import LearnedOptimizer  # noqa: E402
from steppe.torch.rules import MANY, pieces  # noqa: E402
from tests.learned_optimizers import small_mlp  # noqa: E402
from tests.reference.small_mlp import steps  # noqa: E402

STEPS, LATE = 6, 2
SHAPES = {"a": (4, 3), "none": (0, 3), "late": (7,), "one": (), "b": (5,)}
SETTINGS = {"hidden": (3, 2), "betas": (0.5, 0.9), "beta": 0.8, "time_scales": (2.0,)}
SETTINGS |= {"scale": 0.1, "weight_decay": 0.2}


def problem():
    """Parameters in PyTorch, and gradients (steps, *shape) in NumPy, by name."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.standard_normal(shape)
    params = {name: torch.nn.Parameter(torch.tensor(draw(*s))) for name, s in SHAPES.items()}
    return params, {name: draw(STEPS, *shape) for name, shape in SHAPES.items()}


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
@pytest.mark.parametrize("block", [1, 3, 20, 10000])
def test_every_tensor_takes_the_steps_of_a_slow_loop_at_its_own_age(block, weight_decay):
    params, grads = problem()
    settings = SETTINGS | {"weight_decay": weight_decay}
    rule = small_mlp(1.0, **settings)
    start = {name: p.detach().numpy().copy() for name, p in params.items()}
    opt = LearnedOptimizer(params.values(), rule, block=block)
    for k in range(STEPS):
        for name, p in params.items():
            if name != "late" or k >= LATE:
                p.grad = torch.tensor(grads[name][k])
        opt.step()
    w = {name: x.double().numpy() for name, x in rule.weights.items()}
    grads["late"] = grads["late"][LATE:]
    for name in SHAPES.keys() - {"none"}:
        expected = steps(w, settings, grads[name], start[name])[-1]
        np.testing.assert_allclose(params[name].detach(), expected, rtol=1e-10, atol=1e-13)


def test_empty_tensors_among_others_change_nothing():
    rule, draws = small_mlp(1.0), torch.Generator().manual_seed(0)
    g, theta = torch.randn(2, 9, generator=draws)
    state = lambda: {name: torch.zeros(n, 9) for name, n in rule.rows.items()}
    plain = rule.update(g.clone(), state(), [4, 5], [1, 1], 3, theta)
    mixed = rule.update(g.clone(), state(), [0, 4, 0, 0, 5, 0], [1] * 6, 3, theta)
    torch.testing.assert_close(mixed, plain, rtol=1e-4, atol=0)
    assert bool(plain.isfinite().all())
    empty = {name: torch.zeros(n, 0) for name, n in rule.rows.items()}
    assert rule.update(g[:0], empty, [0, 0], [1, 1], 3, theta[:0]).shape == (0,)


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_pieces_know_whose_coordinates_they_hold(block):
    sizes = [3, 0, 1, 20, *([2] * 2 * MANY), 0, 9]
    owners = np.repeat(np.arange(len(sizes)), sizes)
    x, y = (torch.arange(2.0 * n).reshape(2, n) for n in (len(owners), len(sizes)))
    sums, seen = torch.zeros(2, len(sizes)), 0
    for piece in pieces(sizes, block, x):
        own = owners[piece.at]
        assert piece.at.start == seen and 0 < len(own) <= block
        assert len(set(own)) <= MANY
        sums[:, piece.tensors] += piece.sums(x[:, piece.at])
        expected = y[:, torch.tensor(own)]
        assert torch.equal(piece.spread(y).expand_as(expected), expected)
        seen = piece.at.stop
    assert seen == len(owners)
    expected = [[row[owners == k].sum() for k in range(len(sizes))] for row in x.numpy()]
    assert torch.equal(sums, torch.tensor(np.array(expected)))


def test_without_gradients_parameters_shrink_by_exactly_the_learned_share():
    rule = small_mlp(1.0, **SETTINGS)
    rule.weights = {
        **rule.weights,
        ".read_decay.w": torch.zeros_like(rule.weights[".read_decay.w"]),
    }
    still = small_mlp(1.0, **SETTINGS | {"weight_decay": 0.0})
    share = SETTINGS["weight_decay"] / (1 + math.exp(-float(rule.weights[".read_decay.b"])))
    for moving, factor in ((rule, (1 - share) ** STEPS), (still, 1.0)):
        params, _ = problem()
        opt = LearnedOptimizer(params.values(), moving)
        start = {name: p.detach().clone() for name, p in params.items()}
        for _ in range(STEPS):
            for p in params.values():
                p.grad = torch.zeros_like(p)
            opt.step()
        for name, p in params.items():
            torch.testing.assert_close(p.detach(), factor * start[name], rtol=1e-12, atol=0)


def after(a, dtype=torch.float32, **options):
    """All numbers after gradients of a times noise of one size."""
    params, grads = problem()
    params = [torch.nn.Parameter(p.detach().to(dtype)) for p in params.values()]
    opt = LearnedOptimizer(params, small_mlp(1.0, **SETTINGS), **options)
    for k in range(STEPS):
        for p, g in zip(params, grads.values(), strict=True):
            p.grad = torch.tensor(np.sign(g[k]), dtype=dtype) * a
        opt.step()
    return torch.cat([p.detach().ravel() for p in params])


@pytest.mark.parametrize("a", [0.0, 1e-40, 1e-8, 1e8, 1e30, math.inf])
def test_gradients_of_any_size_give_finite_steps_in_float32(a):
    found = after(a)
    assert bool(found.isfinite().all())
    if a > 0.1:  # the scale of the loss does not matter
        torch.testing.assert_close(found, after(1.0), rtol=1e-4, atol=1e-5)


def test_the_gradient_of_the_negative_and_maximize_take_the_same_steps():
    assert torch.equal(after(-1.0, maximize=True), after(1.0))
    assert not torch.equal(after(-1.0), after(1.0))


def test_a_state_in_bfloat16_is_that_of_float32_after_a_step_but_for_its_rounding():
    states = []
    for dtype in (torch.bfloat16, None):
        params, grads = problem()
        p = torch.nn.Parameter(params["a"].detach().float())
        p.grad = torch.tensor(grads["a"][0], dtype=torch.float32)
        opt = LearnedOptimizer([p], small_mlp(**SETTINGS), state_dtype=dtype)
        opt.step()
        states.append(opt.state[p])
    for name in ("m", "v"):
        assert torch.equal(states[0][name], states[1][name].bfloat16())
    off = (after(1.0, state_dtype=torch.bfloat16) - after(1.0)).abs().max()
    assert 0 < float(off) < 0.02


def test_it_keeps_a_number_for_each_average():
    assert small_mlp().floats == 4
    assert small_mlp(betas=(0.9,)).floats == 2
