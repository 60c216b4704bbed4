"""The same trajectory in PyTorch and in JAX, step by step, whatever the options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import steppe
from steppe.zoo import load
from steppe.zoo.io import path
from steppe.zoo.registry import PRETRAINED

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'steppe[torch]'")

from steppe.torch import LearnedOptimizer  # noqa: E402

STEPS = 50
SHAPES = ((7, 5), (5,), (3, 2, 2))
RNG = np.random.default_rng(0)
START = [RNG.standard_normal(shape) for shape in SHAPES]
PULL = [np.exp(RNG.standard_normal(shape)) for shape in SHAPES]
WAVES = [RNG.standard_normal((STEPS, *shape)) for shape in SHAPES]


def gradients(xs, step: int) -> list:
    """Of an anharmonic bowl, its noise the same for both."""
    found = [h * x + 0.3 * x**3 + 0.5 * w[step] for h, x, w in zip(PULL, xs, WAVES, strict=True)]
    found[1] = 0 * found[1] if step % 7 == 0 else found[1]  # dead coordinates now and then
    return found


def in_jax(opt, dtype) -> np.ndarray:
    tx = steppe.to_optax(opt)
    xs = [jnp.asarray(x, dtype) for x in START]
    state, update, out = tx.init(xs), jax.jit(tx.update), []
    for step in range(STEPS):
        grads = [jnp.asarray(g, dtype) for g in gradients([np.asarray(x) for x in xs], step)]
        updates, state = update(grads, state, xs)
        xs = [x + u for x, u in zip(xs, updates, strict=True)]
        out.append(np.concatenate([np.ravel(x) for x in xs]))
    return np.array(out)


def in_torch(source, dtype, **options) -> np.ndarray:
    xs = [torch.nn.Parameter(torch.tensor(x, dtype=getattr(torch, dtype))) for x in START]
    opt, out = LearnedOptimizer(xs, source, **options), []
    for step in range(STEPS):
        for x, g in zip(xs, gradients([x.detach().numpy() for x in xs], step), strict=True):
            x.grad = torch.tensor(g, dtype=x.dtype)
        opt.step()
        out.append(np.concatenate([x.detach().numpy().ravel() for x in xs]))
    return np.array(out)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """The largest, relative to the size of the trajectory."""
    return float(np.abs(a - b).max() / np.abs(b).max())


def marked(name):
    """One of them also as users compile: tests/test_user_flags.py."""
    return pytest.param(name, marks=pytest.mark.user_flags) if name == "rnnprop-v1" else name


@pytest.mark.parametrize("name", [marked(name) for name in PRETRAINED])
def test_every_pretrained_optimizer_takes_the_same_steps(name):
    opt = load(name)
    assert difference(in_torch(name, "float32"), in_jax(opt, "float32")) < 1e-4
    with jax.enable_x64(True):
        found = difference(in_torch(name, "float64"), in_jax(load(name), "float64"))
    assert found < 1e-9


FORMULAS = [
    "-0.01 * g",
    "-0.001 * mn9_999",
    "-0.01 * sign(0.9 * mom99[1] + 0.1 * g)",
    "-0.05 * (tanh(mn95) + 0.5 * tanh(3 * mn95[2]) - 0.1 * gn95[3]^3 / (1 + square(g[1])))",
    "sign5[1]",
    "0.01 * g[1] - 0.02 * g",
    "0.02 * size5 * sign5 - 0.01 * max(min(asinh(g), tanh(1)), -0.3)",
    "-0.01 * aq(exp(-abs(m5)), g) * log(1 + v99) + sqrt(ms5) * -0.02 * sign(g)",
    "0.01",
]
SCALES = [
    {"levels": (6,)},
    {"levels": (6, 5)},
    {"dynamic": False, "relative_lr": False},
    {"products": False, "log_squares": False, "relative_lr": False},
    {"problem_mean": False, "extreme": True, "lr_shortcut": True},
    {"gradient_shortcut": False, "decay_scales": True},
    {"learn_decay": False},
    {"learn_input_decay": False, "learn_start": False},
    {"scales": 1},
    {"pool": "last", "zero_lr": False},
]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dm", {"preprocess": "none", "scale": 1.0}),
        ("dm", {"hidden": (5, 4)}),
        ("dm", {"hidden": ()}),
        ("rnnprop", {"hidden": (5, 4), "features": 3}),
        ("rnnprop", {"beta1": 0.0}),
        *(("l2o-scale", options) for options in SCALES),
        *(("symbolic", {"formula": formula}) for formula in FORMULAS),
    ],
    ids=str,
)
def test_every_option_means_the_same(name, options, tmp_path):
    from steppe.zoo import build

    with jax.enable_x64(True):
        extra = {"lr_range": (1e-2, 1e-1)} if name == "l2o-scale" else {}
        opt = build(name, key=jax.random.key(3), **options, **extra)
        steppe.save(tmp_path / "opt.safetensors", opt)
        theirs = in_jax(opt, "float64")
    ours = in_torch(tmp_path / "opt.safetensors", "float64", block=17)
    assert np.abs(theirs[-1] - theirs[0]).max() > 1e-3  # it moves
    assert difference(ours, theirs) < 1e-9


def test_blocks_and_chunks_do_not_change_the_result():
    whole = in_torch("l2o-scale-v1", "float64")
    assert difference(in_torch("l2o-scale-v1", "float64", block=3), whole) < 1e-12
    whole = in_torch("dm-v1", "float64")
    assert difference(in_torch("dm-v1", "float64", block=3), whole) < 1e-12


def test_the_file_is_read_and_not_the_jax_object():
    rule = LearnedOptimizer([torch.nn.Parameter(torch.zeros(2))], path("dm-v1")).rule
    assert rule.floats == 40


def test_a_trained_formula_takes_the_same_steps(tmp_path):
    import equinox as eqx

    from steppe.zoo import build

    formula, start = "c0 * tanh(c1 * mn95) + c2 * g[1]", (-0.05, 1.5, 0.0)
    opt = build("symbolic", formula=formula, coefficients=start)
    opt = eqx.tree_at(lambda opt: opt.theta, opt, jnp.asarray([0.1, -0.3, -0.02], jnp.float32))
    steppe.save(tmp_path / "opt", opt)
    with jax.enable_x64(True):
        theirs = in_jax(load(tmp_path / "opt"), "float64")
    assert difference(in_torch(tmp_path / "opt", "float64", block=17), theirs) < 1e-9
    assert difference(in_torch(tmp_path / "opt", "float32"), theirs) < 1e-5


def test_every_operation_of_formulas_is_known_to_pytorch():
    from steppe.core.expression import OPERATIONS
    from steppe.torch.symbolic import OUT

    assert OUT.keys() == OPERATIONS.keys()


def test_formulas_have_identities_of_their_own():
    from steppe.torch.symbolic import SymbolicRule

    def identity(formula, coefficients, *theta):
        hyper = {"formula": formula, "coefficients": coefficients}
        return SymbolicRule({".theta": torch.tensor(theta)}, hyper).identity

    rules = [("c0 * g", (0.1,), 0.0), ("c0 * g", (0.2,), 0.0), ("c0 * m9", (0.1,), 0.0)]
    rules += [("c0 * g", (0.1,), 1.0)]
    assert len({identity(*rule) for rule in rules}) == 4
    assert identity("0.1 * g", None, 0.0) == identity("c0 * g", (0.1,), 0.0)


TIMED = {"hidden": (4,), "time_scales": (1.0, 20.0), "horizon": 30}


@pytest.mark.parametrize("kind", [steppe.DM, steppe.RNNProp])
@pytest.mark.parametrize(
    "extra",
    [
        TIMED,
        TIMED | {"weight_decay": 0.05},
        {"hidden": (4, 3), "weight_decay": 0.05},
        {"hidden": (), "weight_decay": 0.05},
    ],
    ids=str,
)
def test_features_of_time_and_a_learned_decay_are_the_same(kind, extra, tmp_path):
    file = tmp_path / "timed.safetensors"
    steppe.save(file, kind(key=jax.random.key(0), scale=0.1, **extra))
    theirs = in_jax(load(file), "float64")
    assert difference(in_torch(file, "float64"), theirs) < 1e-9
    assert difference(in_torch(file, "float64", block=17), theirs) < 1e-9
    assert difference(in_torch(file, "float32"), theirs) < 1e-4


TIMES, RARE = {"time_scales": (2.0, 9.0, 40.0)}, {"time_scales": (), "weight_decay": 0.5}
SMALL = [
    {},
    {"weight_decay": 0.05},
    {"hidden": (3, 5), "betas": (0.0, 0.7), "beta": 0.0, "scale": 0.003, **TIMES},
    {"hidden": (1, 1), "betas": (0.9,), "scale": 0.03, **RARE},
]


@pytest.mark.parametrize("options", SMALL, ids=str)
def test_a_small_mlp_takes_the_same_steps(options, tmp_path):
    """Every weight drawn at random, so that every part counts."""
    from steppe.zoo import build

    file, draws = tmp_path / "small.safetensors", np.random.default_rng(1)
    opt = build("small-mlp", key=jax.random.key(0), **options)
    draw = lambda w: jnp.asarray(w + 0.5 * draws.standard_normal(w.shape), jnp.float32)
    steppe.save(file, jax.tree_util.tree_map(draw, opt))
    with jax.enable_x64(True):
        theirs = in_jax(load(file), "float64")
    assert np.abs(theirs[-1] - theirs[0]).max() > 0.1
    for block in (3, 17, 16384):
        assert difference(in_torch(file, "float64", block=block), theirs) < 1e-9
        assert difference(in_torch(file, "float32", block=block), theirs) < 1e-4
    assert difference(in_jax(load(file), "float32"), in_torch(file, "float32")) < 1e-4


def test_the_rate_multiplies_a_learned_decay_as_in_jax(tmp_path):
    from steppe.optimizers.scheduled import Scheduled

    file = tmp_path / "decayed.safetensors"
    steppe.save(file, steppe.RNNProp(key=jax.random.key(0), weight_decay=0.05, **TIMED))
    theirs = in_jax(Scheduled(load(file), 0.5), "float64")
    assert difference(in_torch(file, "float64", lr=0.5), theirs) < 1e-9
