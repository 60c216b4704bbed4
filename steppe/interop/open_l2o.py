"""The published weights of Open-L2O and L2O-Training-Techniques, as steppe optimizers.

    opt = read("rnnprop.npz")      # → RNNProp, float32

The originals are dill pickles, which are not read here. What is read is an npz file with one
float32 array per variable, under the names that the pickles use. Settings are not stored there:
they are those of the published code (p = 5, scale 0.01, β₁ = β₂ = 0.95, layers 20 and 20), which
are the defaults of `DM` and `RNNProp`.

Chen et al., "Training Stronger Baselines for Learning to Optimize", NeurIPS 2020;
Chen et al., "Learning to Optimize: A Primer and A Benchmark", JMLR 2022. Licence: MIT.
"""

import os
from collections.abc import Collection, Mapping
from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np

from ..optimizers.learned.dm import DM
from ..optimizers.learned.rnnprop import RNNProp
from ..optimizers.learned.scale import Scale
from ..store.npz import opened
from ..store.untrusted import FileError, Source, listed

# Rows of w_gates: inputs, then hidden. Columns: gates i, j, f, o, 20 of each.
DM_SHAPES = {
    "lstm_1/w_gates": (22, 80),
    "lstm_1/b_gates": (80,),
    "lstm_2/w_gates": (40, 80),
    "lstm_2/b_gates": (80,),
    "linear/w": (20, 1),
    "linear/b": (1,),
}
RNNPROP_SHAPES = DM_SHAPES | {
    "input_projection/w": (2, 20),
    "input_projection/b": (20,),
    "lstm_1/w_gates": (40, 80),
}
GATES, CANDIDATE = "BiasGRUCell/gates/Affine", "BiasGRUCell/candidate/Affine"
SCALE_SHAPES = {
    f"{cell}/{part}/{array}": (inputs, width * hidden) if array == "Matrix" else (width * hidden,)
    for cell, inputs, hidden in (
        ("PerTensor/Layer0_RNN", 22, 10),
        ("PerTensor/Layer1_RNN", 42, 20),
        ("Layer2_RNN", 40, 20),
    )
    for part, width in ((GATES, 2), (CANDIDATE, 1))
    for array in ("Matrix", "Bias")
} | {
    "Level0_RNN/init_vector": (1, 10),
    "Level1_RNN/init_vector": (1, 20),
    "Level2_RNN/init_vector": (1, 20),
    "PerTensor/Layer0_RNN/Param/Affine/Matrix": (20, 30),
    "PerTensor/Layer0_RNN/Param/Affine/Bias": (30,),
    "PerTensor/Layer0_RNN/Global/Affine/Matrix": (20, 30),
    "PerTensor/Layer0_RNN/Global/Affine/Bias": (30,),
    "PerTensor/Layer1_RNN/Affine/Matrix": (20, 60),
    "PerTensor/Layer1_RNN/Affine/Bias": (60,),
    "update_weights": (10, 1),
    "scl_decay_weights": (10, 1),
    "scl_decay_bias": (1,),
    "inp_decay_weights": (10, 1),
    "inp_decay_bias": (1,),
    "learning_rate_weights": (10, 1),
    "learning_rate_bias": (1,),
    "PerTensor/GradsToDelta/Matrix": (4, 1),
    "PerTensor/learning_rate_momentum_logit": (),
    "PerTensor/param_stepsize_offset": (),
}
LARGEST = 2**20  # bytes of a file; the published ones have tens of thousands
SCALE_PREFIXES = ("PerTensor/", "Layer2_RNN/", "Level0_RNN/")  # names of L2O-Scale


def read(path: str | os.PathLike) -> DM | RNNProp | Scale:
    """The optimizer whose published weights an npz file holds, recognised by the names in it.

    Raises FileError for a file of other names, shapes or dtypes, and for weights that are not
    finite; FileNotFoundError where there is none.
    """
    kind, arrays = _arrays(Path(path))
    if kind == "L2O-Scale":
        return _scale(arrays)
    if kind == "RNNProp":
        opt = eqx.filter_eval_shape(lambda: RNNProp(key=jr.key(0)))
        where = lambda o: (*_lstm_and_head(o), o.inputs.w, o.inputs.b)
    else:
        opt = eqx.filter_eval_shape(lambda: DM(key=jr.key(0)))
        where = _lstm_and_head
    names = [*DM_SHAPES, *(name for name in RNNPROP_SHAPES if name not in DM_SHAPES)]
    found = [jnp.asarray(arrays[name], jnp.float32) for name in names if name in arrays]
    return eqx.tree_at(where, opt, found)


def _scale(arrays: Mapping[str, np.ndarray]) -> Scale:
    """The 31 arrays in the order of `SCALE_SHAPES`, each in the shape it has in `Scale`."""
    opt = eqx.filter_eval_shape(lambda: Scale(key=jr.key(0)))
    places = jtu.tree_leaves(_scale_places(opt))
    found = [
        jnp.asarray(arrays[name], jnp.float32).reshape(place.shape)
        for name, place in zip(SCALE_SHAPES, places, strict=True)
    ]
    return eqx.tree_at(lambda opt: jtu.tree_leaves(_scale_places(opt)), opt, found)


def _scale_places(opt: Scale) -> list:
    """Places of the arrays of `SCALE_SHAPES` in the optimizer."""
    cells = [(c.w_gates, c.b_gates, c.w_candidate, c.b_candidate) for c in opt.cells]
    maps = [(a.w, a.b) for a in (opt.bias_tensor, opt.bias_problem, opt.bias_upper) if a]
    reads = [(r.w, r.b) for r in (opt.read_decay, opt.read_input_decay, opt.read_lr) if r]
    last = [opt.shortcut, opt.lr_momentum, opt.log_step]
    return [cells, opt.starts, maps, opt.read_step, reads, last]


def _lstm_and_head(opt: DM | RNNProp) -> tuple:
    """The arrays in the order of `DM_SHAPES`."""
    first, second = opt.lstm.layers
    gates = (first.w_gates, first.b_gates, second.w_gates, second.b_gates)
    return (*gates, opt.head.w, opt.head.b)


def _arrays(path: Path) -> tuple[str, dict[str, np.ndarray]]:
    """The kind of optimizer and its arrays, checked; nothing in the file is executed."""
    if not os.path.lexists(path):
        raise FileNotFoundError(f"{path} does not exist; give the npz file of published weights.")
    source = Source(
        str(path),
        "give one float32 array under each of the names 'lstm_1/w_gates' and so on; the published "
        "pickles (cw.l2l-0, rp.l2l-0) are converted first, because loading a pickle can run any "
        "code",
    )
    if path.is_file() and (size := path.stat().st_size) > LARGEST:
        raise source.refuse(f"{size} bytes", f"{LARGEST} at most")
    with opened(path, source) as entries:
        kind, shapes = _kind(entries.names)
        _check_names(path, entries.names, shapes, kind)  # before anything is unpacked
        arrays = {}
        for name, shape in shapes.items():
            arrays[name] = entries[name]
            _check(path, name, arrays[name], shape, kind)
        return kind, arrays


def _kind(names: Collection[str]) -> tuple[str, dict[str, tuple[int, ...]]]:
    """The optimizer that has arrays of such names, and their shapes."""
    if any(name.startswith(SCALE_PREFIXES) for name in names):
        return "L2O-Scale", SCALE_SHAPES
    return ("RNNProp", RNNPROP_SHAPES) if "input_projection/w" in names else ("DM", DM_SHAPES)


def _check_names(path: Path, found: Collection[str], shapes: dict, kind: str) -> None:
    missing = [name for name in shapes if name not in found]
    unknown = [name for name in found if name not in shapes]
    if missing or unknown:
        differences = [f"no {', '.join(missing)}"] if missing else []
        differences += [f"the unknown {listed(unknown)}"] if unknown else []
        raise FileError(
            f"{path} has {' and '.join(differences)}; published weights of {kind} are "
            f"{', '.join(shapes)}."
        )


def _check(path: Path, name: str, array: np.ndarray, shape: tuple[int, ...], kind: str) -> None:
    if array.shape != shape:
        raise FileError(f"{path}: {name} has shape {array.shape}, {kind} needs {shape}.")
    if array.dtype != np.float32:
        raise FileError(f"{path}: {name} is {array.dtype}, published weights are float32.")
    if not np.isfinite(array).all():
        raise FileError(f"{path}: {name} has entries that are not finite; the file is broken.")
