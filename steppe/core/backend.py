"""Measured constants: sizes of blocks, numbers of lanes and options of the compiler, by backend.

Each says what it is for and where it was measured. None changes a result beyond rounding. The
port to PyTorch has its own (`torch/rules.py`), since it runs without JAX.
"""

import os

import jax

# Rows of a coordinatewise rule (docs/speed.md, "Blocks"; docs/torch.md, "What was done")
VECTOR = 16  # float32 numbers in the widest vector register of a CPU, or in a cache line
SHORT_BLOCK = 1024  # rows at once whose activations stay in the L2 cache
CACHED_ROWS = 2**16  # rows up to which a state is taken to fit the cache
CACHED_NUMBERS = 2**16  # of θ and state that episodes advanced at once hold in all
LARGE_TENSOR = 2**12  # numbers of a tensor that an elementwise rule takes alone
LONG_BLOCK = 2**15  # rows at once of more than that, so that threads have something to share

# Memory of a meta-step (docs/speed.md)
KEPT_BYTES = 256 * 2**20  # of states that back-propagation keeps an episode; beyond, it replays
SAMPLED_ROWS = 384  # sampled coordinates that cost little precision; advice before a run

# Numbers of θ from which the guard of a meta-step costs less as a select than as a branch, which
# copies θ and the state of the meta-optimizer: 12 core-ms instead of 18 for 2 million of them.
CHOSEN_BY_BRANCH = 2**16

PATCHES = 2**24  # numbers of all patches of a convolution (64 MB in float32) side by side

ALL = 2**31  # lanes: no limit


def on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def replay_block(rows: int) -> int:
    """Rows that are replayed and pulled back at once.

    On a CPU few, so that a block's states of all steps stay in cache (docs/speed.md, "No AD
    through the loop"), on an accelerator all.
    """
    return 256 if on_cpu() else max(rows, 1)


def lanes_together(numbers: int, *, matrix: bool = False) -> int:
    """Number of episodes to advance at once in an unroll.

    - `numbers`: of θ and of the optimizer's state, that each of them holds
    - `matrix`: whether one matrix multiplies all of them

    On an accelerator all, and where one matrix multiplies the episodes: groups of four took 49 ms
    where 4 suffice. Else on a CPU as many as keep their numbers in cache. A network of
    1510 weights with RNNProp's 42 numbers of state each is best alone: two by two it takes four
    thirds of the time. With the 4 numbers of the small MLP six take 0.4 times as long together.
    """
    return max(1, CACHED_NUMBERS // max(numbers, 1)) if on_cpu() and not matrix else ALL


def lanes_evaluated() -> int:
    """Number of episodes to evaluate at once on a device.

    On a CPU one: the program then compiles in two thirds of the time, and compiling takes longer
    than the run.
    """
    return 1 if on_cpu() else ALL


def lanes_certified() -> int:
    """Number of certified runs at once on a device.

    On a CPU one: several would share its cache, and a batched decomposition (the solution of a
    least-squares task, say) waits for ever for threads that the other devices hold.
    """
    return 1 if on_cpu() else 1024


def quick_compilation() -> dict[str, int]:
    """Options with which a CPU compiles in two thirds of the time; the program is as fast.

    A level in XLA_FLAGS is left as it is.
    """
    level = "xla_backend_optimization_level"
    chosen = not on_cpu() or level in os.environ.get("XLA_FLAGS", "")
    return {} if chosen else {level: 1}
