"""Rates are not Adam's: one warning where a user gives one, none for those of schedules."""

import copy
import math
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'steppe[torch]'")

from steppe.torch import LearnedOptimizer, read_rule  # noqa: E402

RULE = read_rule("dm-v1")
SAID = "multiplies the learned update, whose trained value is 1"


def parameter():
    return torch.nn.Parameter(torch.zeros(3))


def said(act):
    """The warnings of an action."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        act()
    assert all(SAID in str(w.message) and w.filename == __file__ for w in found)
    return [str(w.message) for w in found]


def step(opt, count=1):
    for _ in range(count):
        for group in opt.param_groups:
            for p in group["params"]:
                p.grad = torch.ones_like(p)
        opt.step()


@pytest.mark.parametrize(
    ("lr", "words"),
    [
        (1e-3, "lr=0.001 .* 1e+03 times too little"),
        (0.099, "10.1 times too little"),
        (torch.tensor(3e-4), "lr=0.0003 .* times too little"),
        (np.float32(0.01), "100 times too little"),
        (10.5, "10.5 times too far"),
        (100, "lr=100 .* 100 times too far"),
    ],
    ids=str,
)
def test_a_rate_far_from_one_is_warned_of_once(lr, words):
    [text] = said(lambda: LearnedOptimizer([parameter()], RULE, lr=lr))
    assert "\n" not in text and "leave lr out" in text
    for part in words.split(" .* "):
        assert part in text
    with pytest.warns(UserWarning, match=SAID):
        opt = LearnedOptimizer([parameter()], RULE, lr=lr)

    def go_on():
        opt.add_param_group({"params": [parameter()], "lr": 1e-5})
        step(opt, 2)
        opt.load_state_dict(opt.state_dict())
        copy.deepcopy(opt).add_param_group({"params": [parameter()]})

    assert said(go_on) == []


@pytest.mark.parametrize("lr", [0, 0.0, 0.1, 0.5, 1, 3.0, 10, torch.tensor(1.0), np.float64(0.2)])
def test_a_rate_near_one_or_none_is_not(lr):
    assert said(lambda: LearnedOptimizer([parameter()], RULE, lr=lr)) == []


def test_each_way_in_is_watched():
    rates = [{"params": [parameter()]}, {"params": [parameter()], "lr": 0.002}]
    assert "lr=0.002" in said(lambda: LearnedOptimizer(rates, RULE))[0]
    opt = LearnedOptimizer([parameter()], RULE)
    added = said(lambda: opt.add_param_group({"params": [parameter()], "lr": 2e-4}))
    assert len(added) == 1 and "lr=0.0002" in added[0]
    state = LearnedOptimizer([parameter()], RULE).state_dict()
    state["param_groups"][0]["lr"] = 5e-5
    opt = LearnedOptimizer([parameter()], RULE)
    assert "lr=5e-05" in said(lambda: opt.load_state_dict(state))[0]
    assert said(lambda: opt.load_state_dict(state)) == []


SCHEDULES = {
    "linear": lambda opt: torch.optim.lr_scheduler.LinearLR(opt, 1e-3, total_iters=8),
    "cosine": lambda opt: torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=4),
    "one cycle": lambda opt: torch.optim.lr_scheduler.OneCycleLR(
        opt, 1.0, total_steps=12, cycle_momentum=False
    ),
    "lambda": lambda opt: torch.optim.lr_scheduler.LambdaLR(opt, lambda k: k / 1000),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_pass_through_any_rate_and_a_state_from_their_middle_is_loaded(name):
    def act():
        opt = LearnedOptimizer([parameter()], RULE)
        schedule = SCHEDULES[name](opt)
        low = math.inf
        for _ in range(4):
            low = min(low, opt.param_groups[0]["lr"])
            step(opt)
            schedule.step()
            again = LearnedOptimizer([parameter()], RULE)
            again.load_state_dict(opt.state_dict())
            assert again.param_groups[0]["lr"] == opt.param_groups[0]["lr"]
        assert low < 0.15

    assert said(act) == []


WRONG = [
    math.nan, math.inf, -0.5, 1j, True, "1", None, [1.0], torch.ones(2), torch.tensor(True),
    torch.tensor(1j), torch.tensor(math.nan), np.float64(-1), torch.tensor(-math.inf),
]  # fmt: skip


@pytest.mark.parametrize("value", WRONG, ids=str)
@pytest.mark.parametrize("name", ["lr", "weight_decay"])
def test_what_is_no_rate_is_refused_and_nothing_added(name, value):
    with pytest.raises(ValueError, match=f"{name} must be at least 0, got .*finite number"):
        LearnedOptimizer([parameter()], RULE, **{name: value})
    opt = LearnedOptimizer([parameter()], RULE)
    with pytest.raises(ValueError, match=f"{name} must be at least 0, got "):
        opt.add_param_group({"params": [parameter()], name: value})
    assert len(opt.param_groups) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"betas": (0.9, 0.999)}, "betas means nothing to a learned rule"),
        ({"fused": True}, "fused means nothing to a learned rule"),
        ({"rule": "dm-v1"}, "rule is an option of the whole optimizer"),
        ({"state_dtype": torch.bfloat16}, "state_dtype is an option of the whole"),
        ({"maximize": "no"}, "maximize must be True or False, got 'no'"),
        ({"params": [torch.nn.Parameter(torch.zeros(2, dtype=torch.complex64))]}, "must be real"),
    ],
    ids=str,
)
def test_a_group_that_is_refused_is_not_added(options, words):
    opt = LearnedOptimizer([parameter()], RULE)
    with pytest.raises(ValueError, match=words):
        opt.add_param_group({"params": [parameter()], "name": "own keys are fine", **options})
    assert len(opt.param_groups) == 1
    opt.add_param_group({"params": [parameter()], "name": "own keys are fine"})
    assert opt.param_groups[1]["name"] == "own keys are fine"


def test_it_says_which_rule_it_follows():
    named, given = LearnedOptimizer([parameter()], "dm-v1"), LearnedOptimizer([parameter()], RULE)
    first = repr(named).splitlines()[0]
    assert first == f"LearnedOptimizer (dm-v1: {RULE.identity}"
    assert repr(copy.deepcopy(named)).splitlines()[0] == first
    assert repr(given).splitlines()[0] == f"LearnedOptimizer ({RULE.identity}"
    assert f"rule: {RULE.identity}" in repr(given) and RULE.identity.startswith("DM ")
    assert repr(LearnedOptimizer([parameter()], "rnnprop-v1")).count("RNNProp ") == 2


@pytest.mark.parametrize("rule", [1e-3, None, torch.ones(2), ["dm-v1"]], ids=str)
def test_what_is_no_rule_is_refused_with_an_example(rule):
    with pytest.raises(ValueError, match=r"rule must be a name, a file or .* it comes second"):
        LearnedOptimizer([parameter()], rule)


def test_a_dtype_by_its_name_is_refused():
    with pytest.raises(ValueError, match=r"state_dtype must be a floating dtype, .* 'bfloat16'"):
        LearnedOptimizer([parameter()], RULE, state_dtype="bfloat16")
