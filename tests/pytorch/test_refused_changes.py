"""Changes between two steps that no state can follow: one sentence, and nothing is changed."""

import math

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'steppe[torch]'")

from learned_optimizers import (  # noqa: E402
    CURVES,
    RULES,
    ages,
    begun,
    every_rule,
    moves,
    name_of,
    of,
    parameter,
    rule_of,
    step,
)

from steppe.torch import LearnedOptimizer, read_rule  # noqa: E402


def resize(opt):
    of(opt)[1].data = torch.zeros(9)


def transpose(opt):
    of(opt)[0].data = of(opt)[0].data.T.contiguous()


def lose(opt):
    del opt.state[of(opt)[1]][name_of(opt)]


def lose_step(opt):
    del opt.state[of(opt)[1]]["step"]


def reshape_entry(opt):
    own = opt.state[of(opt)[1]]
    own[name_of(opt)] = own[name_of(opt)].ravel()


def cut_entry(opt):
    view = opt.state[of(opt)[1]][name_of(opt)]
    view.data = view.data[:, :2]


def integers(opt):
    own = opt.state[of(opt)[1]]
    own[name_of(opt)] = own[name_of(opt)].long()


def listed(opt):
    own = opt.state[of(opt)[1]]
    own[name_of(opt)] = own[name_of(opt)].tolist()


def bad_step(opt):
    opt.state[of(opt)[1]]["step"].fill_(math.nan)


def worded_step(opt):
    opt.state[of(opt)[1]]["step"] = "2"


def no_dict(opt):
    opt.state[of(opt)[1]] = [1.0]


def twice(opt):
    opt.param_groups[1]["params"].append(of(opt)[1])


def complex_numbers(opt):
    of(opt)[1].data = of(opt)[1].data.to(torch.complex64)


def no_numbers(opt):
    opt.param_groups[0]["params"][1] = torch.nn.Parameter(torch.empty(4, device="meta"))


class Spread(torch.nn.Parameter):
    """A stand-in for a DTensor, which takes a process group to make."""

    device_mesh = "cpu"


def spread(opt):
    opt.param_groups[0]["params"][1] = Spread(torch.zeros(4))


REFUSED = {
    resize: r"parameter 1 of group 0 went from shape \(4,\) to \(9,\)",
    transpose: r"parameter 0 of group 0 went from shape \(2, 3\) to \(3, 2\)",
    lose: "parameter 1 of group 0: its state lacks ",
    lose_step: "parameter 1 of group 0: its state lacks step",
    reshape_entry: r"parameter 1 of group 0: \w+ in its state is of shape",
    cut_entry: r"parameter 1 of group 0: \w+ in its state is of shape \(\d+, 2\), expected .* 4\)",
    integers: r"parameter 1 of group 0: \w+ in its state is of torch.int64",
    listed: r"parameter 1 of group 0: \w+ in its state is a list",
    bad_step: r"parameter 1 of group 0: step in its state is tensor\(nan\)",
    worded_step: "parameter 1 of group 0: step in its state is '2'",
    no_dict: "parameter 1 of group 0: its state is a list",
    twice: "parameter 1 of group 0 stands in the groups more than once",
    complex_numbers: "parameter 1 of group 0 is of torch.complex64",
    spread: "parameter 1 of group 0 is a DTensor",
    no_numbers: "parameter 1 of group 0 is on the meta device",
}


@every_rule
@pytest.mark.parametrize("change", REFUSED)
def test_what_cannot_go_on_is_refused_by_name_with_nothing_changed(rule, change):
    opt = begun(lambda groups: LearnedOptimizer(groups, rule))
    kept = dict(opt.state), {p: dict(own) for p, own in opt.state.items()}
    data = {p: p.data for p in of(opt)}
    groups = [list(group["params"]) for group in opt.param_groups]
    change(opt)
    numbers = [p.detach().clone() for p in of(opt)]
    for _ in range(2):  # it is not forgotten
        with pytest.raises(ValueError, match=REFUSED[change]) as said:
            step(opt)
        assert "\n" not in str(said.value)
    assert all(torch.equal(x, p) for x, p in zip(numbers, of(opt), strict=True) if not p.is_meta)
    if change in (bad_step, cut_entry):  # in place
        return
    for group, params in zip(opt.param_groups, groups, strict=True):
        group["params"] = params
    for p, x in data.items():
        p.grad = None
        p.data = x
        opt.state[p] = kept[0][p]
        opt.state[p].update(kept[1][p])
    found, _ = moves(opt)
    assert ages(opt) == [3, 3, 3]
    if rule in CURVES:
        assert found == pytest.approx([CURVES[rule][2]] * 3, rel=1e-4)


@every_rule
def test_named_parameters_are_named(rule):
    net = torch.nn.Linear(3, 2)
    try:
        opt = LearnedOptimizer(net.named_parameters(), rule)
    except TypeError:
        pytest.skip("this PyTorch takes no named parameters")
    step(opt)
    net.bias.data = torch.zeros(5)
    with pytest.raises(ValueError, match=r"parameter 1 of group 0 \('bias'\) went from"):
        step(opt)


@every_rule
def test_a_gradient_from_before_a_change_is_refused(rule):
    opt = begun(lambda groups: LearnedOptimizer(groups, rule))
    p = of(opt)[1]
    for q in of(opt):
        q.grad = torch.ones_like(q)
    p.data = torch.zeros(6)
    with pytest.raises(ValueError, match=r"gradient of parameter 1 of group 0 has shape \(4,\)"):
        opt.step()
    assert ages(opt) == [2, 2, 2]


@every_rule
@pytest.mark.parametrize("change", [resize, lose, integers, complex_numbers, no_dict])
def test_a_parameter_is_looked_at_when_it_has_a_gradient(rule, change):
    """Adam skips the others, whatever became of them."""
    opt, twin = (begun(lambda groups: LearnedOptimizer(groups, rule)) for _ in range(2))
    for one in (opt, twin):
        for p in of(one):
            p.grad = torch.ones_like(p)
        of(one)[1].grad = None
    change(opt)
    opt.step()
    twin.step()
    for k in (0, 2):
        torch.testing.assert_close(of(opt)[k], of(twin)[k], rtol=1e-5, atol=1e-7)
    with pytest.raises(ValueError, match=REFUSED[change].split(" of group")[0]):
        step(opt)


def test_a_rule_takes_as_many_gradients_as_coordinates():
    for name in RULES:
        rule = rule_of(name)
        with pytest.raises(ValueError, match="given 5 gradients for tensors of 3 coordinates"):
            rule.update(torch.ones(5), {}, [1, 2], [1, 1], 64)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"lr": 1.0}, "group 2: weight_decay is missing"),
        ({"lr": math.nan, "weight_decay": 0.0, "maximize": False}, "group 2: lr must be at least"),
        ({"lr": 1.0, "weight_decay": -1, "maximize": False}, "group 2: weight_decay must be"),
        ({"lr": 1.0, "weight_decay": 0, "maximize": False, "rule": "DM 0"}, "group 2 is of the ru"),
        (
            {"lr": 1j, "weight_decay": 0.0, "maximize": False},
            "group 2: lr must be at least 0, got 1j",
        ),
    ],
    ids=str,
)
def test_groups_put_in_by_hand_are_checked(made, said):
    opt = begun(lambda groups: LearnedOptimizer(groups, "dm-v1"))
    opt.param_groups.append({"params": [parameter(2)], **made})
    with pytest.raises(ValueError, match=said):
        step(opt)
    assert all(int(own["step"]) == 2 for own in opt.state.values())
    opt.param_groups[2] = {"params": [parameter(2)], "lr": 1, "weight_decay": 0, "maximize": False}
    step(opt)
    assert opt.param_groups[2]["rule"] == opt.rule.identity


def test_another_rule_needs_another_optimizer():
    opt = begun(lambda groups: LearnedOptimizer(groups, "rnnprop-v1"))
    opt.rule = read_rule("rnnprop-flat-v1")
    with pytest.raises(ValueError, match=r"group 0 is of the rule 'RNNProp .* build another"):
        step(opt)
