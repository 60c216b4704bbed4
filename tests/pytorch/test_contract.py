"""What torch.optim asks of an optimizer, and what torch.optim makes easy to lose."""

import copy
import io
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'steppe[torch]'")

from learned_optimizers import RULES, every_rule, name_of  # noqa: E402

from steppe.store.manifest import CheckpointError  # noqa: E402
from steppe.torch import LearnedOptimizer  # noqa: E402

DATA = torch.Generator().manual_seed(0)
X, Y = torch.randn(32, 6, generator=DATA), torch.randint(3, (32,), generator=DATA)


def network(dtype=torch.float32, seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)).to(
        dtype
    )


def loss_of(net):
    p = next(net.parameters())
    return torch.nn.functional.cross_entropy(net(X.to(p.dtype)).float(), Y)


def train(net, opt, steps=5):
    for _ in range(steps):
        opt.zero_grad()
        loss_of(net).backward()
        opt.step()


def numbers(net):
    return torch.cat([p.detach().double().ravel() for p in net.parameters()])


@every_rule
def test_it_trains(rule):
    net = network()
    opt, before = LearnedOptimizer(net.parameters(), rule), loss_of(net).item()
    train(net, opt, 100)
    assert loss_of(net).item() < 0.7 * before


@every_rule
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("way", ["state_dict", "file", "deepcopy", "pickle"])
def test_a_copy_goes_on_bit_by_bit(rule, dtype, way):
    net = network(dtype)
    opt = LearnedOptimizer(net.parameters(), rule)
    train(net, opt)
    if way == "deepcopy":
        other, again = copy.deepcopy((net, opt))
    elif way == "pickle":
        other, again = pickle.loads(pickle.dumps((net, opt)))
    else:
        other = network(dtype, seed=1)
        other.load_state_dict(net.state_dict())
        again = LearnedOptimizer(other.parameters(), rule)
        kept = opt.state_dict()
        if way == "file":
            file = io.BytesIO()
            torch.save(kept, file)
            file.seek(0)
            kept = torch.load(file, weights_only=True)
        again.load_state_dict(kept)
    wide = torch.promote_types(dtype, torch.float32)
    assert again.state[next(other.parameters())][name_of(again)].dtype == wide
    train(other, again)
    middle = numbers(net)
    train(net, opt)  # the original is not disturbed by its copy, and ends the same
    assert not torch.equal(middle, numbers(net))
    assert torch.equal(numbers(other), numbers(net))


@every_rule
def test_the_state_of_a_parameter_is_a_view_and_what_is_written_there_counts(rule):
    net = network()
    opt = LearnedOptimizer(net.parameters(), rule)
    train(net, opt)
    name = name_of(opt)
    twin, other = copy.deepcopy((net, opt))
    with torch.no_grad():
        opt.state[net[0].weight][name].zero_()  # in place
        other.state[twin[0].weight][name] = torch.zeros_like(other.state[twin[0].weight][name])
    train(net, opt, 1)
    train(twin, other, 1)
    assert torch.equal(numbers(net), numbers(twin))


@every_rule
def test_parameters_without_gradient_stand_still_and_keep_their_state(rule):
    net = network()
    opt = LearnedOptimizer(net.parameters(), rule)
    train(net, opt, 2)
    kept = {name: x.clone() for name, x in opt.state[net[0].weight].items()}
    before = numbers(net)
    loss_of(net).backward()
    net[0].weight.grad = None
    opt.step()
    assert all(torch.equal(x, opt.state[net[0].weight][name]) for name, x in kept.items())
    assert torch.equal(numbers(net)[:48], before[:48])
    assert not torch.equal(numbers(net)[48:], before[48:])


@pytest.mark.parametrize("rule", RULES[:2])
def test_a_coordinatewise_rule_does_not_see_which_other_parameters_move(rule):
    """A step without one tensor's gradient is for the others the step of a smaller model."""
    nets = [network() for _ in range(2)]
    whole = LearnedOptimizer(nets[0].parameters(), rule)
    part = LearnedOptimizer([p for n, p in nets[1].named_parameters() if n != "0.bias"], rule)
    for _ in range(4):
        for net in nets:
            net.zero_grad()
            loss_of(net).backward()
            net[0].bias.grad = None
        whole.step()
        part.step()
    assert torch.equal(numbers(nets[0]), numbers(nets[1]))


@every_rule
def test_a_group_added_later_begins_at_its_first_step(rule):
    net = network()
    first, second = list(net[0].parameters()), list(net[2].parameters())
    opt = LearnedOptimizer(first, rule)
    train(net, opt, 3)
    opt.add_param_group({"params": second, "lr": 0.5})
    train(net, opt, 2)
    assert [int(opt.state[p]["step"]) for p in net.parameters()] == [5, 5, 2, 2]
    assert opt.param_groups[1]["lr"] == 0.5 and opt.param_groups[1]["weight_decay"] == 0.0
    assert bool(torch.isfinite(numbers(net)).all())


@every_rule
def test_groups_have_their_own_rates_and_the_rate_multiplies_the_update(rule):
    nets = [network() for _ in range(2)]
    plain = LearnedOptimizer(nets[0].parameters(), rule)
    groups = [
        {"params": nets[1][0].parameters(), "lr": 0.0},
        {"params": nets[1][2].parameters(), "lr": 0.25},
    ]
    scaled = LearnedOptimizer(groups, rule)
    before = numbers(nets[0])
    for net, opt in zip(nets, (plain, scaled), strict=True):
        train(net, opt, 1)
    moved = [numbers(net) - before for net in nets]
    assert bool((moved[1][:56] == 0).all())
    torch.testing.assert_close(moved[1][56:], 0.25 * moved[0][56:], rtol=1e-4, atol=1e-7)


def test_a_scheduler_sets_the_rate():
    net = network()
    opt = LearnedOptimizer(net.parameters(), "rnnprop-v1")
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=4)
    seen = []
    for _ in range(4):
        before = numbers(net)
        train(net, opt, 1)
        seen.append(float((numbers(net) - before).abs().max()))
        schedule.step()
    assert seen[3] < 0.3 * max(seen[:2]) and opt.param_groups[0]["lr"] == pytest.approx(
        0, abs=1e-12
    )


@every_rule
def test_weight_decay_is_decoupled(rule):
    nets = [network(torch.float64) for _ in range(2)]
    plain = LearnedOptimizer(nets[0].parameters(), rule, lr=0.5)
    decayed = LearnedOptimizer(nets[1].parameters(), rule, lr=0.5, weight_decay=0.1)
    before = numbers(nets[0])
    for net, opt in zip(nets, (plain, decayed), strict=True):
        train(net, opt, 1)
    torch.testing.assert_close(numbers(nets[1]), numbers(nets[0]) - 0.05 * before)
    plain_state, decayed_state = (
        opt.state[net[0].weight] for net, opt in zip(nets, (plain, decayed), strict=True)
    )
    assert all(torch.equal(x, decayed_state[name]) for name, x in plain_state.items())


@every_rule
def test_maximize_climbs_the_same_path_of_the_negative(rule):
    nets = [network() for _ in range(2)]
    down = LearnedOptimizer(nets[0].parameters(), rule)
    up = LearnedOptimizer(nets[1].parameters(), rule, maximize=True)
    for _ in range(3):
        for net, opt, sign in zip(nets, (down, up), (1, -1), strict=True):
            opt.zero_grad()
            (sign * loss_of(net)).backward()
            opt.step()
    assert torch.equal(numbers(nets[0]), numbers(nets[1]))


def test_a_closure_is_called_with_gradients_and_its_loss_returned():
    net = network()
    opt = LearnedOptimizer(net.parameters(), "dm-v1")

    def closure():
        opt.zero_grad()
        loss = loss_of(net)
        loss.backward()
        return loss

    with torch.no_grad():
        first = opt.step(closure)
    assert first.item() != opt.step(closure).item()
    assert opt.step() is None


@every_rule
def test_hooks_scaled_gradients_and_foreach(rule):
    nets = [network() for _ in range(2)]
    plain = LearnedOptimizer(nets[0].parameters(), rule)
    opt, calls = LearnedOptimizer(nets[1].parameters(), rule, foreach=True), []
    opt.register_step_pre_hook(lambda *_: calls.append("before"))
    opt.register_step_post_hook(lambda *_: calls.append("after"))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for _ in range(3):
        train(nets[0], plain, 1)
        opt.zero_grad()
        scaler.scale(loss_of(nets[1])).backward()
        scaler.step(opt)
        scaler.update()
    assert calls == ["before", "after"] * 3
    torch.testing.assert_close(numbers(nets[1]), numbers(nets[0]), rtol=1e-5, atol=1e-6)
    opt.zero_grad()
    (torch.inf * scaler.scale(loss_of(nets[1]))).backward()
    before = numbers(nets[1])
    scaler.step(opt)  # skipped
    assert torch.equal(numbers(nets[1]), before)


@every_rule
def test_a_compiled_step_is_the_step(rule):
    nets = [network() for _ in range(2)]
    opts = [LearnedOptimizer(net.parameters(), rule) for net in nets]
    compiled = torch.compile(opts[1].step, backend="eager")
    for _ in range(3):
        for net, opt, step in zip(nets, opts, (opts[0].step, compiled), strict=True):
            opt.zero_grad()
            loss_of(net).backward()
            step()
    torch.testing.assert_close(numbers(nets[1]), numbers(nets[0]))


@every_rule
def test_half_the_state_memory_costs_little_accuracy(rule):
    nets = [network() for _ in range(2)]
    exact = LearnedOptimizer(nets[0].parameters(), rule)
    half = LearnedOptimizer(nets[1].parameters(), rule, state_dtype=torch.bfloat16)
    for net, opt in zip(nets, (exact, half), strict=True):
        train(net, opt, 10)
    assert half.state[nets[1][0].weight][name_of(half)].dtype == torch.bfloat16
    start = numbers(network())
    moved, off = numbers(nets[0]) - start, numbers(nets[1]) - numbers(nets[0])
    assert 0 < float(off.norm()) < 0.2 * float(moved.norm())


def test_a_rule_of_the_whole_problem_wants_one_precision():
    params = [torch.nn.Parameter(torch.zeros(3, dtype=d)) for d in (torch.float32, torch.float64)]
    for p in params:
        p.grad = torch.ones_like(p)
    LearnedOptimizer(params, "dm-v1").step()
    with pytest.raises(ValueError, match="looks at all parameters together"):
        LearnedOptimizer(params, "l2o-scale-v1").step()


def test_empty_and_scalar_parameters():
    params = [torch.nn.Parameter(torch.zeros(s)) for s in ((), (0, 3), (2,))]
    for p in params:
        p.grad = torch.ones_like(p)
    for rule in RULES:
        opt = LearnedOptimizer(params, rule)
        opt.step()
        opt.load_state_dict(opt.state_dict())
        opt.step()
    assert params[0].item() < 0


P = torch.nn.Parameter(torch.zeros(2))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lr": -1.0}, "lr must be at least 0, got -1.0"),
        ({"lr": float("nan")}, "lr must be at least 0"),
        ({"weight_decay": -0.1}, "weight_decay must be at least 0"),
        ({"fused": True}, "fused means nothing to a learned rule"),
        ({"capturable": True}, "capturable means nothing"),
        ({"differentiable": True}, "differentiable means nothing"),
        ({"betas": (0.9, 0.99)}, "betas means nothing"),
        ({"learning_rate": 1.0}, "learning_rate is not an option; the options are lr, "),
        ({"block": 0}, "block must be at least 1, got 0"),
        ({"state_dtype": torch.int8}, "state_dtype must be a floating dtype"),
    ],
    ids=str,
)
def test_options_that_are_none_are_refused_by_name(options, said):
    with pytest.raises(ValueError, match=said):
        LearnedOptimizer([P], "dm-v1", **options)


def test_gradients_and_files_that_are_none_are_refused(tmp_path):
    weight = torch.nn.Embedding(5, 2, sparse=True)
    weight(torch.tensor([1])).sum().backward()
    with pytest.raises(ValueError, match="must be dense"):
        LearnedOptimizer(weight.parameters(), "dm-v1").step()
    with pytest.raises(ValueError, match="must be real"):
        LearnedOptimizer([torch.nn.Parameter(torch.zeros(2, dtype=torch.complex64))], "dm-v1")
    with pytest.raises(ValueError, match="did you mean 'rnnprop-v1'"):
        LearnedOptimizer([P], "rnnprop-v2")
    with pytest.raises(CheckpointError):
        LearnedOptimizer([P], tmp_path / "none.safetensors")
    np.savez(tmp_path / "weights.npz", x=np.zeros(3))
    with pytest.raises(CheckpointError, match="zip archive"):
        LearnedOptimizer([P], tmp_path / "weights.npz")
