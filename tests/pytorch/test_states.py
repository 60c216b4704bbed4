"""States that leave a LearnedOptimizer own their memory, and go on bit by bit elsewhere."""

import copy
import io
import pickle
import warnings

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'steppe[torch]'")

from learned_optimizers import RULES, WAVES, every_rule, numbers, of, same, wave, waved  # noqa: E402

from steppe.torch import LearnedOptimizer  # noqa: E402


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
    opt = waved(rule)
    found = tensors(WAYS[way](opt))
    assert len(found) == len(tensors(opt.state)) >= 9
    assert all(x.is_contiguous() for x in found)
    assert all(x.untyped_storage().nbytes() == x.nbytes for x in found)
    assert len({x.data_ptr() for x in found}) == len(found)
    before = [x.clone() for x in found]
    wave(opt, 3)
    for x in found:
        x += 1  # neither sees the other
    twin = waved(rule, 4)
    assert same(numbers(opt), numbers(twin))
    assert all(torch.equal(x, y + 1) for x, y in zip(found, before, strict=True))


@every_rule
def test_a_state_fits_a_safetensors_file_and_one_entry_a_small_one(rule):
    safetensors = pytest.importorskip("safetensors.torch", reason="pip install safetensors")
    state = waved(rule).state_dict()["state"]
    flat = {f"{k}.{name}": x for k, own in state.items() for name, x in own.items()}
    again = safetensors.load(safetensors.save(flat))
    assert all(torch.equal(x, again[name]) for name, x in flat.items())
    file = io.BytesIO()
    torch.save(state[1], file)
    assert file.tell() < 12_000


@every_rule
def test_a_parameter_without_state_begins_afresh_and_hooks_adapt_a_state(rule):
    opt, fresh = waved(rule), waved(rule, 0)
    state = opt.state_dict()
    del state["state"][1]
    seen = []
    opt.register_load_state_dict_pre_hook(lambda _, given: {**given, "state": state["state"]})
    opt.register_load_state_dict_post_hook(lambda one: seen.append(len(one.state)))
    opt.load_state_dict({**state, "state": "adapted by the hook"})
    assert seen == [2]
    wave(opt, 3)
    assert [int(opt.state[p]["step"]) for p in of(opt)] == [4, 1, 4]
    fresh.load_state_dict(fresh.state_dict())
    wave(fresh, 0)
    assert same(numbers(fresh), numbers(waved(rule, 1)))


@every_rule
def test_two_optimizers_that_load_one_state_stay_apart(rule):
    state = waved(rule).state_dict()
    one, two = waved(rule), waved(rule)
    for opt in (one, two):
        opt.load_state_dict(state)
    for own in one.state.values():
        for x in own.values():
            x.zero_()
    wave(two, 3)
    assert same(numbers(two), numbers(waved(rule, 4)))


@every_rule
@pytest.mark.parametrize("dtypes", [(None, torch.bfloat16), (torch.bfloat16, None)], ids=str)
def test_a_state_is_kept_in_the_dtype_of_the_optimizer_that_loads_it(rule, dtypes):
    saved, own = dtypes
    opt = waved(rule, state_dtype=own)
    opt.load_state_dict(waved(rule, state_dtype=saved).state_dict())
    for _ in range(2):
        kept = {x.dtype for one in opt.state.values() for x in one.values() if x.ndim}
        assert kept == {own or torch.float32}
        wave(opt, 3)


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


@every_rule
def test_a_copy_goes_on_bit_by_bit_though_others_move_than_before(rule):
    """What all share is as old as the newest of those that hold it, moving or not."""
    opt, again = waved(rule), waved(rule, 0)
    for k, moving in ((3, {0, 2}), (4, {1}), (5, {0, 1})):
        again.load_state_dict(opt.state_dict())
        for p, q in zip(of(again), of(opt), strict=True):
            p.data.copy_(q)
        for one in (opt, again):
            for j, p in enumerate(of(one)):
                p.grad = torch.full_like(p, 0.1 * k) if j in moving else None
            one.step()
        assert same(numbers(opt), numbers(again))
