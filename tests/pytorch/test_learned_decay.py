"""A weight decay that the rule decides, against the closed form of a rule without memory.

Trajectories against JAX are in test_trajectories.py.
"""

import copy
import math
import pickle

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'steppe[torch]'")

from steppe.torch import LearnedOptimizer  # noqa: E402
from steppe.torch.rules import DMRule, RNNPropRule  # noqa: E402
from tests.learned_optimizers import numbers, of, same, wave, waved  # noqa: E402

BOUND, SLOPE, BIAS = 0.3, 1.5, -0.4
TIME = {"time_scales": (3.0,), "horizon": 5}


def memoryless(weight_decay=BOUND):
    """u = −0.05 sign g − bound σ(1.5 sign g − 0.4) θ, for gradients that are not small."""
    weights = {".head.w": torch.tensor([[0.0], [-0.5]]), ".head.b": torch.zeros(1)}
    weights |= {".decay_head.w": torch.tensor([[0.0], [SLOPE]])}
    weights |= {".decay_head.b": torch.tensor([BIAS])}
    hyper = {"preprocess": "log_and_sign", "p": 10.0, "scale": 0.1, "hidden": ()}
    hyper |= {"time_scales": (), "horizon": None, "weight_decay": weight_decay}
    return DMRule(weights, hyper)


def drawn(weight_decay=BOUND):
    """RNNProp with random weights, time features and a decay."""
    noise = torch.Generator().manual_seed(0)
    shapes = {".inputs.w": (4, 3), ".inputs.b": (3,), ".head.w": (2, 1), ".head.b": (1,)}
    shapes |= {".lstm.layers[0].w_gates": (5, 8), ".lstm.layers[0].b_gates": (8,)}
    shapes |= {".decay_head.w": (2, 1), ".decay_head.b": (1,)}
    weights = {name: torch.randn(shape, generator=noise) for name, shape in shapes.items()}
    hyper = {"beta1": 0.9, "beta2": 0.9, "scale": 0.1, "hidden": (2,)}
    return RNNPropRule(weights, hyper | TIME | {"weight_decay": weight_decay})


def after(theta, sign, lr=1.0, weight_decay=0.0):
    """θ after a step of `memoryless` on a gradient of this sign, in plain floats."""
    share = BOUND / (1 + math.exp(-(SLOPE * sign + BIAS)))
    u = -0.05 * sign - share * theta
    return theta - lr * weight_decay * theta + lr * u


@pytest.mark.parametrize("block", [2, 1000])
def test_every_group_takes_the_step_of_its_equation(block):
    """Uphill too, where the update turns and the decay does not."""
    starts = [[[2.0, -3.0, 0.5], [1.0, 0.0, -0.25]], [4.0], [-1.0, 8.0]]
    a, b, c = (torch.tensor(x, dtype=torch.float64) for x in starts)
    a = torch.nn.Parameter(a.T)  # not contiguous
    b, c = torch.nn.Parameter(b), torch.nn.Parameter(c)
    up = {"lr": 0.5, "weight_decay": 0.1, "maximize": True}
    opt = LearnedOptimizer(
        [{"params": [a, b]}, {"params": [c], **up}], memoryless(), block=block, foreach=True
    )

    def closure():
        a.grad, c.grad = torch.ones_like(a), torch.ones_like(c)
        b.grad = torch.ones_like(b) if opt.state else None  # nothing in the first step
        return 1.0

    grown = lambda x, steps, *how: x if not steps else after(grown(x, steps - 1, *how), *how)
    for k in range(1, 4):
        assert opt.step(closure) == 1.0
        found = [p.detach().flatten().tolist() for p in (a.T, b, c)]
        assert found[0] == pytest.approx([grown(x, k, 1) for row in starts[0] for x in row])
        assert found[1] == pytest.approx([grown(4.0, k - 1, 1)])
        assert found[2] == pytest.approx([grown(x, k, -1, 0.5, 0.1) for x in starts[2]])


def test_the_gradient_of_the_negative_and_maximize_take_the_same_steps():
    down, up = (torch.nn.Parameter(torch.tensor([3.0, -2.0])) for _ in range(2))
    opts = [LearnedOptimizer([down], drawn()), LearnedOptimizer([up], drawn(), maximize=True)]
    for k in range(4):
        down.grad = torch.tensor([1.0, -0.5]) * k
        up.grad = -down.grad
        for opt in opts:
            opt.step()
    assert torch.equal(down, up)
    assert bool((down.detach().abs() < torch.tensor([3.0, 2.0])).all())


def test_only_the_update_tells_a_rule_with_a_decay_from_one_without():
    """The state is the same, in its names and its numbers; a first step differs by −λ θ alone."""
    start, moved, states = torch.tensor([3.0, -2.0, 0.0], dtype=torch.float64), [], []
    for rule in (drawn(), drawn(0.0)):
        p = torch.nn.Parameter(start.clone())
        opt = LearnedOptimizer([p], rule)
        p.grad = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
        opt.step()
        moved.append(p.detach() - start)
        states.append(opt.state[p])
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(x, states[1][name]) for name, x in states[0].items())
    share = (moved[1] - moved[0])[:2] / start[:2]
    assert bool(((share > 0) & (share < BOUND)).all())
    assert moved[0][2].item() == pytest.approx(moved[1][2].item(), rel=1e-12)


def test_bfloat16_parameters_take_the_step_of_their_numbers():
    start = torch.tensor([3.0, -2.0, 0.125, 40.0])
    narrow, wide = torch.nn.Parameter(start.bfloat16()), torch.nn.Parameter(start)
    for p in (narrow, wide):
        p.grad = torch.tensor([1.0, -0.5, 0.25, 0.0], dtype=p.dtype)
        LearnedOptimizer([p], drawn()).step()
    assert torch.equal(narrow, wide.detach().bfloat16())


@pytest.mark.parametrize("way", ["state_dict", "deepcopy", "pickle"])
def test_a_copy_goes_on_bit_by_bit(way):
    opt = waved(drawn(), state_dtype=torch.bfloat16)
    if way == "state_dict":
        again = waved(drawn(), steps=0, state_dtype=torch.bfloat16)
        for p, q in zip(of(again), of(opt), strict=True):
            p.data = q.detach().clone()
        again.load_state_dict(opt.state_dict())
    else:
        again = copy.deepcopy(opt) if way == "deepcopy" else pickle.loads(pickle.dumps(opt))
    for k in (3, 4):
        wave(opt, k)
        wave(again, k)
    assert same(numbers(opt), numbers(again))


def test_a_compiled_step_is_the_step():
    opts = [waved(drawn(), steps=1) for _ in range(2)]
    step = torch.compile(opts[1].step, backend="eager")
    for _ in range(2):
        opts[0].step()
        step()
    for p, q in zip(numbers(opts[0])[2], numbers(opts[1])[2], strict=True):
        torch.testing.assert_close(p, q)


@pytest.mark.parametrize(
    ("params", "found"), [(None, "given none"), (torch.ones(2), r"of shape \(2,\)")]
)
def test_parameters_that_are_not_those_of_the_gradients_are_refused(params, found):
    with pytest.raises(ValueError, match=f"{found}; give params=…, those of the 3 gradients"):
        memoryless().update(torch.ones(3), {}, [3], [1], 10, params)
