"""Changes between two steps that are no fault, against what torch.optim.Adam makes of the same.

Adam's own count of steps is the oracle for how a parameter moves.
"""

import copy
from collections import defaultdict

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'steppe[torch]'")

from learned_optimizers import (  # noqa: E402
    CURVES,
    ages,
    begun,
    every_rule,
    moves,
    name_of,
    of,
    parameter,
    step,
)

from steppe.torch import LearnedOptimizer, read_rule  # noqa: E402


def replace(opt):
    opt.param_groups[0]["params"][1] = parameter(7)


def remove(opt):
    opt.param_groups[0]["params"].pop(0)


def put_back(opt):
    taken = opt.param_groups[0]["params"].pop(0)
    step(opt, 2)
    opt.param_groups[0]["params"].append(taken)


def exchange(opt):
    first, second = opt.param_groups
    second["params"].append(first["params"].pop(0))


def turn(opt):
    opt.param_groups.reverse()
    opt.param_groups[1]["params"].reverse()


def new_group(opt):
    opt.add_param_group({"params": [parameter(3, 2)]})


def append(opt):
    opt.param_groups[1]["params"].append(parameter(2))


def drop_group(opt):
    del opt.param_groups[0]


def clear(opt):
    opt.state.clear()


def new_state(opt):
    opt.state = defaultdict(dict)


def pop(opt):
    opt.state.pop(of(opt)[1])


def empty(opt):
    opt.state[of(opt)[0]] = {}


def empty_in_place(opt):
    opt.state[of(opt)[0]].clear()


def new_numbers(opt):
    for p in of(opt):
        p.data = torch.full_like(p, 3.0)


def one_by_one(opt):
    first = of(opt)[0]
    for p in of(opt):
        p.grad = None
    first.grad = torch.ones_like(first)
    opt.step()


def nothing(opt):
    pass


AS_ADAM = [
    replace, remove, put_back, exchange, turn, new_group, append, drop_group, clear, new_state, pop,
    empty, empty_in_place, new_numbers, one_by_one, nothing,
]  # fmt: skip


@every_rule
@pytest.mark.parametrize("change", AS_ADAM)
def test_parameters_are_as_old_as_with_adam_and_move_like_it(rule, change):
    opt, adam = begun(lambda groups: LearnedOptimizer(groups, rule)), begun(torch.optim.Adam)
    change(opt)
    change(adam)
    step(adam)
    found, spread = moves(opt)
    assert ages(opt) == ages(adam)
    assert all(0 < -m < 0.5 for m in found)
    if rule in CURVES:  # L2O-Scale looks at all parameters together
        assert found == pytest.approx([CURVES[rule][age - 1] for age in ages(opt)], rel=1e-4)
        assert spread < 1e-6
    step(opt)
    opt.state_dict()  # also with the state of a parameter that has left


@every_rule
def test_an_optimizer_without_groups_stands_still(rule):
    opt = begun(lambda groups: LearnedOptimizer(groups, rule))
    opt.param_groups.clear()
    opt.step()
    assert opt.state_dict()["state"] == {}


@every_rule
def test_a_parameter_that_takes_over_a_state_goes_on(rule):
    """Points are cloned: new parameter, old numbers and state of each (Gaussian splatting)."""
    opt = begun(lambda groups: LearnedOptimizer(groups, rule))
    old, twin = of(opt)[1], of(opt)[2]
    own = opt.state.pop(old)
    rows = [name for name, value in own.items() if value.ndim == 2 and value.shape[1] == 4]
    index = torch.tensor([0, 1, 2, 3, 3, 0])
    new = torch.nn.Parameter(old.detach()[index])
    opt.state[new] = own | {name: own[name][:, index] for name in rows}
    opt.param_groups[0]["params"][1] = new
    found, spread = moves(opt)
    assert ages(opt) == [3, 3, 3] and set(rows) == set(opt.rule.rows)
    if rule in CURVES:
        assert found == pytest.approx([CURVES[rule][2]] * 3, rel=1e-4) and spread < 1e-6
    assert torch.equal(new[3], new[4]) and twin in opt.state


@every_rule
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_the_dtype_of_a_step_follows_the_parameters(rule, dtype):
    """Adam fails here; a model in another dtype from the first step on is the oracle."""
    opt, twin = (begun(lambda groups: LearnedOptimizer(groups, rule), steps=2) for _ in range(2))
    for p in of(opt):
        p.data, p.grad = p.data.to(dtype), None
    found, (expected, _) = moves(opt)[0], moves(twin)
    assert found == pytest.approx(expected, rel=1e-5 if dtype == torch.float64 else 0.02)
    wide = torch.promote_types(dtype, torch.float32)
    assert all(own[name_of(opt)].dtype == wide for own in opt.state.values())
    if dtype == torch.float64 and rule in CURVES:
        last = moves(opt)[0]
        assert last == pytest.approx([CURVES[rule][3]] * 3, rel=1e-5)


def replaced_entries(opt):
    for own in opt.state.values():
        for name in list(own):
            own[name] = own[name].double()


def entries_data(opt):
    for own in opt.state.values():
        for value in own.values():
            value.data = value.data.clone()


def plain_state(opt):
    opt.state = dict(opt.state)


def numbers_of_steps(opt):
    for own in opt.state.values():
        own["step"] = 2


def copies(opt):
    opt.state = copy.deepcopy(dict(enumerate(opt.state.values())))
    opt.state = dict(zip(of(opt), opt.state.values(), strict=True))


def state_dtype(opt):
    opt.state_dtype = torch.float64


@every_rule
@pytest.mark.parametrize(
    "change", [replaced_entries, entries_data, plain_state, numbers_of_steps, copies, state_dtype]
)
def test_the_same_numbers_in_other_tensors_are_the_same_state(rule, change):
    opt, twin = (begun(lambda groups: LearnedOptimizer(groups, rule)) for _ in range(2))
    change(opt)
    step(opt, 2)
    step(twin, 2)
    assert ages(opt) == [4, 4, 4]
    for p, q in zip(of(opt), of(twin), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-7)
    if change is not state_dtype:
        view = opt.state[of(opt)[0]][name_of(opt)]
        assert view.dtype == torch.float32


def test_states_follow_their_parameters_and_not_their_places():
    opt, twin = (begun(lambda groups: LearnedOptimizer(groups, "rnnprop-v1")) for _ in range(2))
    turn(opt)
    for one in (opt, twin):
        for p in of(one):
            p.grad = torch.arange(p.numel()).reshape(p.shape) + 1.0 * p.ndim
        one.step()
    a, b, c = of(twin)
    for p, q in zip(of(opt), (c, b, a), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-7)


def test_what_all_share_outlives_any_of_them_and_is_never_taken_from_one_left_behind():
    opt, twin = (begun(lambda groups: LearnedOptimizer(groups, "l2o-scale-v1")) for _ in range(2))
    a, b, c = of(opt)
    remove(opt)
    step(opt, 3)
    now = opt.state[c]["p"].clone()
    assert torch.equal(opt.state[b]["p"], now) and not torch.equal(opt.state[a]["p"], now)
    assert opt.state[a]["p"].untyped_storage().nbytes() == 4 * now.numel()  # lets the rest go
    opt.param_groups[0]["params"].append(a)
    remove(twin)
    step(twin, 3)
    twin.param_groups[0]["params"].append(parameter(2, 3))
    twin.state[of(twin)[1]] = opt.state[a] | {"p": now, "problem_step": 5}
    step(opt)
    step(twin)
    assert torch.equal(opt.state[a]["p"], twin.state[of(twin)[1]]["p"])
    opt.state.clear()
    step(opt)
    fresh = LearnedOptimizer([parameter(4), parameter(2, 3), parameter()], "l2o-scale-v1")
    step(fresh)
    torch.testing.assert_close(opt.state[c]["p"], fresh.state[of(fresh)[0]]["p"])


def test_what_all_share_is_written_in_all_or_refused():
    opt = begun(lambda groups: LearnedOptimizer(groups, "l2o-scale-v1"))
    for p in of(opt):
        opt.state[p]["p"].fill_(0.25)
    twin = copy.deepcopy(opt)
    step(twin)
    other = begun(lambda groups: LearnedOptimizer(groups, "l2o-scale-v1"))
    step(other)
    assert not torch.equal(twin.state[of(twin)[0]]["p"], other.state[of(other)[0]]["p"])
    step(opt)
    assert torch.equal(twin.state[of(twin)[0]]["p"], opt.state[of(opt)[0]]["p"])
    opt.state[of(opt)[2]]["p"].zero_()
    with pytest.raises(
        ValueError, match=r"p is shared .* parameter 0 of group 0 and parameter 0 of"
    ):
        step(opt)


def test_parameters_without_gradient_have_no_state():
    a, b = parameter(3), parameter(2)
    b.requires_grad_(False)
    opt = LearnedOptimizer([a, b], "rnnprop-v1")
    a.grad = torch.ones(3)
    opt.step()
    assert list(opt.state) == [a]


@every_rule
def test_a_step_leaves_gradients_alone(rule):
    p = parameter(5)
    p.grad = torch.arange(5.0)
    opt = LearnedOptimizer([p], rule)
    opt.step()
    assert torch.equal(p.grad, torch.arange(5.0))


@every_rule
def test_one_state_given_to_two_parameters_becomes_two(rule):
    opt = begun(lambda groups: LearnedOptimizer(groups, rule))
    new = torch.nn.Parameter(of(opt)[0].detach().clone())
    opt.state[new] = opt.state[of(opt)[0]]
    opt.param_groups[0]["params"].append(new)
    of(opt)[0].grad = torch.ones(2, 3)
    found, _ = moves(opt)
    step(opt)
    assert ages(opt) == [4, 4, 4, 4]
    torch.testing.assert_close(new, of(opt)[0])
    assert opt.state[new] is not opt.state[of(opt)[0]] and found[0] == pytest.approx(found[2])


def test_a_rule_without_memory_steps_those_that_have_a_gradient():
    weights = {".head.w": torch.tensor([[0.0], [-0.5]]), ".head.b": torch.zeros(1)}
    hyper = {"preprocess": "log_and_sign", "p": 10.0, "scale": 0.1, "hidden": ()}
    hyper |= {"time_scales": (), "horizon": None, "weight_decay": 0.0}
    a, b = parameter(3), parameter(2)
    opt = LearnedOptimizer([a, b], type(read_rule("dm-v1"))(weights, hyper))
    step(opt)
    b.grad = None
    opt.step()
    assert ages(opt) == [2, 1]
    torch.testing.assert_close(a.detach(), torch.full((3,), -0.1))
    torch.testing.assert_close(b.detach(), torch.full((2,), -0.05))
