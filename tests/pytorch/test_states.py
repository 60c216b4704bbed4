"""States that leave a LearnedOptimizer own their memory; those that come in are checked first."""

import copy
import io
import math
import pickle
import warnings

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'steppe[torch]'")

from steppe.torch import LearnedOptimizer, read_rule  # noqa: E402

RULES = ("dm-v1", "rnnprop-v1", "l2o-scale-v1")
every_rule = pytest.mark.parametrize("rule", RULES)
SHAPES = ((5, 3), (), (4,))
WAVES = torch.randn(20, 20, generator=torch.Generator().manual_seed(1))


def begun(rule, steps=3, dtype=torch.float32, **options):
    """An optimizer of three parameters in two groups, after some steps on fixed gradients."""
    a, b, c = (torch.nn.Parameter(torch.zeros(shape, dtype=dtype)) for shape in SHAPES)
    opt = LearnedOptimizer([{"params": [a, b]}, {"params": [c], "lr": 0.5}], rule, **options)
    for k in range(steps):
        step(opt, k)
    return opt


def of(opt):
    return [p for group in opt.param_groups for p in group["params"]]


def step(opt, k):
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


def tensors(states):
    return [x for own in states.values() for x in own.values() if isinstance(x, torch.Tensor)]


WAYS = {
    "state_dict": lambda opt: opt.state_dict()["state"],
    "pickle": lambda opt: pickle.loads(pickle.dumps(opt)).state,
    "deepcopy": lambda opt: copy.deepcopy(opt).state,
    "hook": lambda opt: seen_by_a_hook(opt)["state"],
}


def seen_by_a_hook(opt):
    seen = []
    handle = opt.register_state_dict_post_hook(lambda _, state: seen.append(state))
    opt.state_dict()
    handle.remove()
    return seen[0]


@every_rule
@pytest.mark.parametrize("way", WAYS)
def test_what_leaves_owns_its_memory(rule, way):
    opt = begun(rule)
    found = tensors(WAYS[way](opt))
    assert len(found) == len(tensors(opt.state)) >= 9
    assert all(x.is_contiguous() for x in found)
    assert all(x.untyped_storage().nbytes() == x.nbytes for x in found)
    assert len({x.data_ptr() for x in found}) == len(found)
    before = [x.clone() for x in found]
    step(opt, 3)
    for x in found:
        x += 1  # neither sees the other
    twin = begun(rule, 4)
    assert same(numbers(opt), numbers(twin))
    assert all(torch.equal(x, y + 1) for x, y in zip(found, before, strict=True))


@every_rule
def test_a_state_fits_a_safetensors_file_and_one_entry_a_small_one(rule):
    safetensors = pytest.importorskip("safetensors.torch", reason="pip install safetensors")
    state = begun(rule).state_dict()["state"]
    flat = {f"{k}.{name}": x for k, own in state.items() for name, x in own.items()}
    again = safetensors.load(safetensors.save(flat))
    assert all(torch.equal(x, again[name]) for name, x in flat.items())
    file = io.BytesIO()
    torch.save(state[1], file)
    assert file.tell() < 12_000


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
    for cls in others:
        opt = begun(rule)
        groups = [{**group, "lr": 0.01} for group in opt.param_groups]
        groups = [{k: group[k] for k in ("params", "lr")} for group in groups]
        try:
            other = cls(groups)
            if not unstepped:
                for p in of(other):
                    p.grad = torch.ones_like(p)
                other.step()
        except (RuntimeError, ValueError):
            continue  # sparse gradients or matrices only
        tried += 1
        opt = begun(rule)
        refuse(opt, other.state_dict(), "as another optimizer has them")
    assert tried >= 9


def refuse(opt, state, said):
    before = numbers(opt)
    with pytest.raises(ValueError, match=said) as found:
        opt.load_state_dict(state)
    assert "\n" not in str(found.value) and str(found.value).startswith("LearnedOptimizer: ")
    assert same(numbers(opt), before)
    step(opt, 3)
    assert int(opt.state[of(opt)[0]]["step"]) == 4


@every_rule
def test_the_state_of_another_rule_or_of_other_weights_is_refused(rule):
    kind = {"dm-v1": "DM", "rnnprop-v1": "RNNProp", "l2o-scale-v1": "Scale"}[rule]
    for name in RULES:
        if name != rule:
            refuse(begun(rule), begun(name).state_dict(), f"expected those of the rule {kind} ")
    changed = read_rule(rule)
    name, weight = list(changed.weights.items())[-1]
    changed.weights = {**changed.weights, name: torch.nextafter(weight, weight + 1)}
    refuse(begun(rule), begun(changed).state_dict(), f"groups of the rule '{kind} .* {kind} ")
    again = begun(rule)
    again.load_state_dict(begun(read_rule(rule)).state_dict())  # the source does not matter


def test_the_identity_is_that_of_the_numbers_whatever_their_precision_and_order():
    rule, cpu = read_rule("rnnprop-v1"), torch.device("cpu")
    assert read_rule("rnnprop-v1").to(cpu, torch.float64).identity == rule.identity
    turned = type(rule)(dict(reversed(rule.weights.items())), {**vars(rule)})
    assert turned.identity == rule.identity
    names = (*RULES, "rnnprop-flat-v1", "dm-flat-v1")
    assert len({read_rule(name).identity for name in names}) == 5


def entry(rule):
    return next(iter(read_rule(rule).rows))


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
    state = spoil(begun(rule, 5).state_dict(), rule)
    refuse(begun(rule), state, said)


def test_what_all_share_must_be_the_same_for_all_of_one_age():
    state = begun("l2o-scale-v1").state_dict()
    state["state"][1]["p"] += 1
    refuse(
        begun("l2o-scale-v1"), state, "p is shared by all parameters, but parameter 0 of group 0"
    )
    state["state"][1]["problem_step"] -= 1  # an older one does not count
    opt, twin = begun("l2o-scale-v1"), begun("l2o-scale-v1")
    opt.load_state_dict(state)
    step(opt, 3)
    step(twin, 3)
    assert same(numbers(opt), numbers(twin))


@every_rule
def test_a_parameter_without_state_begins_afresh_and_hooks_adapt_a_state(rule):
    opt, fresh = begun(rule), begun(rule, 0)
    state = opt.state_dict()
    del state["state"][1]
    seen = []
    opt.register_load_state_dict_pre_hook(lambda _, given: {**given, "state": state["state"]})
    opt.register_load_state_dict_post_hook(lambda one: seen.append(len(one.state)))
    opt.load_state_dict({**state, "state": "adapted by the hook"})
    assert seen == [2]
    step(opt, 3)
    assert [int(opt.state[p]["step"]) for p in of(opt)] == [4, 1, 4]
    fresh.load_state_dict(fresh.state_dict())
    step(fresh, 0)
    assert same(numbers(fresh), numbers(begun(rule, 1)))


@every_rule
def test_two_optimizers_that_load_one_state_stay_apart(rule):
    state = begun(rule).state_dict()
    one, two = begun(rule), begun(rule)
    for opt in (one, two):
        opt.load_state_dict(state)
    for own in one.state.values():
        for x in own.values():
            x.zero_()
    step(two, 3)
    assert same(numbers(two), numbers(begun(rule, 4)))


@every_rule
@pytest.mark.parametrize("dtypes", [(None, torch.bfloat16), (torch.bfloat16, None)], ids=str)
def test_a_state_is_kept_in_the_dtype_of_the_optimizer_that_loads_it(rule, dtypes):
    saved, own = dtypes
    opt = begun(rule, state_dtype=own)
    opt.load_state_dict(begun(rule, state_dtype=saved).state_dict())
    for _ in range(2):
        kept = {x.dtype for one in opt.state.values() for x in one.values() if x.ndim}
        assert kept == {own or torch.float32}
        step(opt, 3)


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
    opt = begun(rule, 1)
    with pytest.warns(UserWarning, match=r"names no rule, as those of steppe 0\.1; it fits"):
        opt.load_state_dict(of_0_1(begun(rule).state_dict()))
    assert all(group_["rule"] == opt.rule.identity for group_ in opt.param_groups)
    for p, q in zip(of(opt), of(twin := begun(rule)), strict=True):
        p.data.copy_(q)
    step(opt, 3)
    step(twin, 3)
    assert same(numbers(opt), numbers(twin))
    opt.load_state_dict(opt.state_dict())


@every_rule
def test_a_state_of_0_1_is_known_by_names_and_shapes(rule):
    for name in RULES:
        if name != rule:
            refuse(begun(rule), of_0_1(begun(name).state_dict()), "lacks|which no group|expected")
    state = of_0_1(begun(rule).state_dict())
    state["param_groups"][0]["betas"] = (0.9, 0.99)
    refuse(begun(rule), state, "groups with 'betas', as another optimizer has them")
    state = of_0_1(begun(rule).state_dict())
    names = state["state"][1]
    state["state"][1] = {k: torch.zeros_like(x) for k, x in names.items()}  # before its first step
    opt = begun(rule)
    with pytest.warns(UserWarning, match="names no rule"):
        opt.load_state_dict(state)
    step(opt, 3)
    assert [int(opt.state[p]["step"]) for p in of(opt)] == [4, 1, 4]


def net_and(rule, steps):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2, bias=False))
    net[0].bias.requires_grad_(False)
    opt = LearnedOptimizer(net.parameters(), rule)
    train(net, opt, steps)
    return net, opt


def train(net, opt, steps):
    for k in range(steps):
        opt.zero_grad()
        (net(WAVES[k, :3]) ** 2).sum().backward()
        opt.step()


@every_rule
@pytest.mark.parametrize("flat", [False, True], ids=["nested", "flat"])
@pytest.mark.parametrize("disk", [False, True], ids=["memory", "disk"])
def test_a_distributed_checkpoint_goes_on_bit_by_bit(rule, flat, disk, tmp_path):
    from torch.distributed import checkpoint
    from torch.distributed.checkpoint import state_dict as door

    options = door.StateDictOptions(flatten_optimizer_state_dict=flat)
    net, opt = net_and(rule, 4)
    other, again = net_and(rule, 0)
    other.load_state_dict(net.state_dict())
    kept = door.get_optimizer_state_dict(net, opt, options=options)
    if disk:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a single process
            checkpoint.save({"opt": kept}, checkpoint_id=tmp_path)
            kept = {"opt": door.get_optimizer_state_dict(other, again, options=options)}
            checkpoint.load(kept, checkpoint_id=tmp_path)
        kept = kept["opt"]
    door.set_optimizer_state_dict(other, again, kept, options=options)
    other.load_state_dict(net.state_dict())  # asking for a state before a step moves a step
    train(other, again, 3)
    train(net, opt, 3)
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), other.parameters(), strict=True))
    for rule_ in set(RULES) - {rule}:
        third, foreign = net_and(rule_, 1)
        with pytest.raises((ValueError, KeyError), match=r"rule|state"):
            door.set_optimizer_state_dict(
                third,
                foreign,
                door.get_optimizer_state_dict(net, opt, options=options),
                options=options,
            )
        break
