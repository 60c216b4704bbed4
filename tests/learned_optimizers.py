"""LearnedOptimizers after some steps, for tests/pytorch. Needs PyTorch.

Gradients are all 1 for `begun` and `step`, so that the move of a coordinate under a coordinatewise
rule depends only on how many steps its parameter has taken. For `waved` and `wave` they are fixed
noise.
"""

import dataclasses

import pytest
import torch

from steppe.optimizers import settings
from steppe.torch import LearnedOptimizer, read_rule
from steppe.torch.rules import AbstractRule
from steppe.torch.small_mlp import SmallMLPRule


def small_mlp(noise=0.1, **hyper):
    """The small MLP as it begins, normalised Adam, with noise on all weights. None is shipped."""
    known, draws = settings.SmallMLP(**hyper), torch.Generator().manual_seed(0)
    weights = {
        name: noise * torch.randn(shape, generator=draws) for name, shape in known.shapes.items()
    }
    weights[".shortcut"][-2] += 1.0
    return SmallMLPRule(weights, dataclasses.asdict(known))


SMALL = small_mlp(weight_decay=0.01)
RULES = ("dm-v1", "rnnprop-v1", "l2o-scale-v1", SMALL)
every_rule = pytest.mark.parametrize(
    "rule", RULES, ids=[rule if isinstance(rule, str) else "small-mlp" for rule in RULES]
)
SHAPES = ((5, 3), (), (4,))
WAVES = torch.randn(20, 20, generator=torch.Generator().manual_seed(1))


def parameter(*shape, dtype=torch.float32):
    return torch.nn.Parameter(torch.zeros(shape, dtype=dtype))


def of(opt):
    return [p for group in opt.param_groups for p in group["params"]]


def step(opt, count=1):
    for _ in range(count):
        for p in of(opt):
            p.grad = torch.ones_like(p)
        opt.step()


def begun(make, steps=2):
    """An optimizer of three parameters in two groups, after some steps."""
    a, b, c = parameter(2, 3), parameter(4), parameter()
    opt = make([{"params": [a, b]}, {"params": [c]}])
    step(opt, steps)
    return opt


def ages(opt):
    return [int(opt.state[p]["step"]) for p in of(opt)]


def moves(opt):
    """The move of each parameter in one step; its coordinates move alike."""
    before = [p.detach().clone() for p in of(opt)]
    step(opt)
    found = [(p.detach() - x).double().ravel() for p, x in zip(of(opt), before, strict=True)]
    return [m.mean().item() for m in found if m.numel()], max(
        (m.max() - m.min()).item() for m in found if m.numel()
    )


def curve(rule, steps=8):
    """The moves of one coordinate in its first steps, alone."""
    p = parameter(1, dtype=torch.float64)
    opt = LearnedOptimizer([p], rule)
    return [moves(opt)[0][0] for _ in range(steps)]


CURVES = {rule: curve(rule) for rule in RULES[:2]}


def rule_of(rule):
    """A rule by its name, or itself."""
    return rule if isinstance(rule, AbstractRule) else read_rule(rule)


def name_of(opt):
    return next(iter(opt.rule.rows))


def waved(rule, steps=3, dtype=torch.float32, **options):
    """An optimizer of three parameters in two groups, after some steps on fixed gradients."""
    a, b, c = (torch.nn.Parameter(torch.zeros(shape, dtype=dtype)) for shape in SHAPES)
    opt = LearnedOptimizer([{"params": [a, b]}, {"params": [c], "lr": 0.5}], rule, **options)
    for k in range(steps):
        wave(opt, k)
    return opt


def wave(opt, k):
    params = of(opt)
    waves = WAVES[k].split([p.numel() for p in params])
    for p, wave in zip(params, waves, strict=True):
        p.grad = wave.reshape(p.shape).to(p.dtype)
    opt.step()


def numbers(opt):
    """All that an optimizer knows, to compare with."""
    state = [
        {name: torch.as_tensor(x).clone() for name, x in opt.state.get(p, {}).items()}
        for p in of(opt)
    ]
    groups = [{k: v for k, v in group.items() if k != "params"} for group in opt.param_groups]
    return state, groups, [p.detach().clone() for p in of(opt)]


def same(a, b):
    return (
        a[1] == b[1]
        and all(torch.equal(x, y) for x, y in zip(a[2], b[2], strict=True))
        and all(
            x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x)
            for x, y in zip(a[0], b[0], strict=True)
        )
    )
