"""States that do not fit: refused in one sentence, and nothing is changed. States of steppe 0.1."""

import copy
import math

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'steppe[torch]'")

from learned_optimizers import (  # noqa: E402
    RULES,
    SMALL,
    every_rule,
    numbers,
    of,
    rule_of,
    same,
    wave,
    waved,
)

from steppe.torch import read_rule  # noqa: E402


@every_rule
@pytest.mark.parametrize("unstepped", [False, True], ids=["stepped", "unstepped"])
def test_no_other_optimizer_s_state_is_taken_and_its_rate_neither(rule, unstepped):
    others = [
        cls
        for cls in vars(torch.optim).values()
        if isinstance(cls, type)
        and issubclass(cls, torch.optim.Optimizer)
        and cls not in (torch.optim.Optimizer, torch.optim.LBFGS)
    ]
    assert len(others) >= 10
    tried = 0
    params = [group["params"] for group in waved(rule).param_groups]
    for cls in others:
        groups = [{"params": some, "lr": 0.01} for some in params]
        try:
            other = cls(groups)
            if not unstepped:
                for p in of(other):
                    p.grad = torch.ones_like(p)
                other.step()
        except (RuntimeError, ValueError):
            continue  # sparse gradients or matrices only
        tried += 1
        opt = waved(rule)
        refuse(opt, other.state_dict(), "as another optimizer has them")
    assert tried >= 9


def refuse(opt, state, said):
    before = numbers(opt)
    with pytest.raises(ValueError, match=said) as found:
        opt.load_state_dict(state)
    assert "\n" not in str(found.value) and str(found.value).startswith("LearnedOptimizer: ")
    assert same(numbers(opt), before)
    wave(opt, 3)
    assert int(opt.state[of(opt)[0]]["step"]) == 4


@every_rule
def test_the_state_of_another_rule_or_of_other_weights_is_refused(rule):
    kinds = {"dm-v1": "DM", "rnnprop-v1": "RNNProp", "l2o-scale-v1": "Scale", SMALL: "SmallMLP"}
    kind = kinds[rule]
    for name in RULES:
        if name != rule:
            refuse(waved(rule), waved(name).state_dict(), f"expected those of the rule {kind} ")
    changed = copy.copy(rule_of(rule))
    vars(changed).pop("identity", None)  # of the weights before
    name, weight = list(changed.weights.items())[-1]
    changed.weights = {**changed.weights, name: torch.nextafter(weight, weight + 1)}
    refuse(waved(rule), waved(changed).state_dict(), f"groups of the rule '{kind} .* {kind} ")
    again, other = waved(rule), waved(copy.copy(rule_of(rule)))
    again.load_state_dict(other.state_dict())  # the source does not matter


def test_the_identity_is_that_of_the_numbers_whatever_their_precision_and_order():
    rule, cpu = read_rule("rnnprop-v1"), torch.device("cpu")
    assert read_rule("rnnprop-v1").to(cpu, torch.float64).identity == rule.identity
    told = {**vars(rule), **vars(rule.time)}
    turned = type(rule)(dict(reversed(rule.weights.items())), told)
    assert turned.identity == rule.identity
    names = (*RULES, "rnnprop-flat-v1", "dm-flat-v1")
    assert len({rule_of(name).identity for name in names}) == 6


def entry(rule):
    return next(iter(rule_of(rule).rows))


def edit(change):
    """A spoiler of a state dict from what is done to the state of parameter 2."""

    def spoil(state, rule):
        change(state["state"][2], entry(rule))
        return state

    return spoil


def put(value):
    return edit(lambda own, name: own.__setitem__(name, value(own[name])))


def number(place, value):
    def change(own, name):
        own[name] = own[name].clone()
        own[name].ravel()[place] = value

    return edit(change)


def group(**options):
    def spoil(state, rule):
        state["param_groups"][1].update(options)
        return state

    return spoil


def without(name):
    def spoil(state, rule):
        del state["param_groups"][1][name]
        return state

    return spoil


def third_group(state, rule):
    state["param_groups"].append({**state["param_groups"][1], "params": [3]})
    return state


def moved_parameter(state, rule):
    state["param_groups"][0]["params"] = [0]
    state["param_groups"][1]["params"] = [1, 2]
    return state


def swapped(state, rule):
    state["state"][0], state["state"][2] = state["state"][2], state["state"][0]
    return state


def stranger(state, rule):
    state["state"][17] = state["state"][0]
    return state


SPOILED = {
    "lacks an entry": (edit(lambda own, name: own.pop(name)), r"parameter 0 of group 1: .* lacks"),
    "lacks step": (edit(lambda own, name: own.pop("step")), "lacks step"),
    "renamed": (edit(lambda own, name: own.__setitem__(name + "_", own.pop(name))), "lacks"),
    "one too many": (
        edit(lambda own, name: own.update(exp_avg=own[name])),
        "'exp_avg' for parameter",
    ),
    "flat": (put(lambda x: x.ravel()), r"of shape \(\d+,\), expected floating-point"),
    "short": (put(lambda x: x[:, :-1]), r"of shape \(\d+, 3\), expected .* \(\d+, 4\)"),
    "thin": (put(lambda x: x[:-1]), "of shape .* for a parameter of shape"),
    "long": (put(lambda x: x.long()), "of torch.int64"),
    "truths": (put(lambda x: x > 0), "of torch.bool"),
    "complex": (put(lambda x: x.to(torch.complex64)), "of torch.complex64"),
    "list": (put(lambda x: x.tolist()), "is a list"),
    "none": (put(lambda x: None), "is a NoneType"),
    "meta": (put(lambda x: x.to("meta")), "without numbers"),
    "sparse": (put(lambda x: x.to_sparse()), "without numbers"),
    "nan": (number(-1, math.nan), "NaN or infinite"),
    "inf": (number(0, -math.inf), "NaN or infinite"),
    "too wide": (put(lambda x: torch.full_like(x, 1e200, dtype=torch.float64)), "NaN or infinite"),
    "half a step": (edit(lambda own, name: own.update(step=1.5)), "step in its state is 1.5"),
    "step back": (edit(lambda own, name: own.update(step=torch.tensor(-1.0))), "whole number"),
    "two steps": (edit(lambda own, name: own.update(step=torch.ones(2))), "whole number"),
    "no dict": (lambda s, _: {**s, "state": {**s["state"], 1: 3}}, "its state is a int"),
    "lr nan": (group(lr=math.nan), "group 1: lr must be at least 0, got nan"),
    "lr complex": (group(lr=1j), "group 1: lr must be"),
    "lr word": (group(lr="1"), "group 1: lr must be"),
    "lr true": (group(lr=True), "group 1: lr must be at least 0, got True"),
    "no lr": (without("lr"), "group 1: lr is missing"),
    "decay": (group(weight_decay=-1.0), "group 1: weight_decay must be"),
    "maximize": (group(maximize="yes"), "group 1: maximize must be True or False"),
    "other rule in one group": (group(rule="DM 0"), "groups of the rule 'DM 0'"),
    "a tensor for a rule": (group(rule=torch.ones(3)), r"of the rule a tensor of shape \(3,\)"),
    "a long name": (group(rule="DM\n" * 9999), "of the rule 'DM"),
    "a huge step": (
        edit(lambda own, name: own.update(step=torch.ones(99, 99))),
        r"of shape \(99, 99",
    ),
    "lr beyond floats": (group(lr=10**9999), "lr must be at least 0, got a whole number of"),
    "lr tensor": (group(lr=torch.ones(99, 99)), r"lr must be at least 0, got a tensor of shape"),
    "third group": (third_group, r"groups of \[2, 1, 1\] parameters, expected groups of \[2, 1\]"),
    "moved": (moved_parameter, r"groups of \[1, 2\] parameters"),
    "swapped": (swapped, "expected floating-point numbers of shape"),
    "stranger": (stranger, "a state of 17, which no group names"),
    "twice": (group(params=[0]), "parameter 0 twice"),
    "unhashable": (group(params=[[0]]), "a parameter named by a list"),
    "no state": (lambda s, _: {"param_groups": s["param_groups"]}, "another form"),
    "no groups": (lambda s, _: {"state": s["state"]}, "another form"),
    "groups a dict": (lambda s, _: {**s, "param_groups": {}}, "another form"),
    "group a list": (lambda s, _: {**s, "param_groups": [[0], [1]]}, "without its list `params`"),
    "a list": (lambda s, _: [s], "the form of a list"),
    "nothing": (lambda s, _: None, "the form of a NoneType"),
}


@pytest.mark.parametrize("how", SPOILED)
@every_rule
def test_a_spoiled_state_is_refused_and_nothing_is_changed(rule, how):
    spoil, said = SPOILED[how]
    state = spoil(waved(rule, 5).state_dict(), rule)
    refuse(waved(rule), state, said)


def test_what_all_share_must_be_the_same_for_all_of_one_age():
    state = waved("l2o-scale-v1").state_dict()
    state["state"][1]["p"] += 1
    refuse(
        waved("l2o-scale-v1"), state, "p is shared by all parameters, but parameter 0 of group 0"
    )
    state["state"][1]["problem_step"] -= 1  # an older one does not count
    opt, twin = waved("l2o-scale-v1"), waved("l2o-scale-v1")
    opt.load_state_dict(state)
    wave(opt, 3)
    wave(twin, 3)
    assert same(numbers(opt), numbers(twin))


def of_0_1(state):
    """A state dict as steppe 0.1 wrote it: no rule, and what all share under a key of its own."""
    for group_ in state["param_groups"]:
        del group_["rule"]
    for own in state["state"].values():
        own.pop("problem_step", None)
        shared = {"p": own.pop("p")} if "p" in own else {}
        if shared:
            common = shared
    if shared:
        state["state"]["problem"] = common
    return state


@every_rule
def test_a_state_of_0_1_goes_on_with_a_warning(rule):
    opt = waved(rule, 1)
    with pytest.warns(UserWarning, match=r"names no rule, as those of steppe 0\.1; it fits"):
        opt.load_state_dict(of_0_1(waved(rule).state_dict()))
    assert all(group_["rule"] == opt.rule.identity for group_ in opt.param_groups)
    for p, q in zip(of(opt), of(twin := waved(rule)), strict=True):
        p.data.copy_(q)
    wave(opt, 3)
    wave(twin, 3)
    assert same(numbers(opt), numbers(twin))
    opt.load_state_dict(opt.state_dict())


@every_rule
def test_a_state_of_0_1_is_known_by_names_and_shapes(rule):
    for name in RULES:
        if name != rule:
            refuse(waved(rule), of_0_1(waved(name).state_dict()), "lacks|which no group|expected")
    state = of_0_1(waved(rule).state_dict())
    state["param_groups"][0]["betas"] = (0.9, 0.99)
    refuse(waved(rule), state, "groups with 'betas', as another optimizer has them")
    state = of_0_1(waved(rule).state_dict())
    names = state["state"][1]
    state["state"][1] = {k: torch.zeros_like(x) for k, x in names.items()}  # before its first step
    opt = waved(rule)
    with pytest.warns(UserWarning, match="names no rule"):
        opt.load_state_dict(state)
    wave(opt, 3)
    assert [int(opt.state[p]["step"]) for p in of(opt)] == [4, 1, 4]
