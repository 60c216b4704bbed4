"""Before a run: the memory that a meta-step takes, by XLA's own count, and then how long it lasts.

The count is exact for the compiled program. What another setting would take is not compiled but
estimated: what lies between input and output of the program is in proportion to the unroll, and
to the episodes where they advance side by side.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import PyTree

from ..core import tree
from ..core.backend import KEPT_BYTES, SAMPLED_ROWS, lanes_together, on_cpu
from ..core.coordinatewise import AbstractCoordinatewise
from ..core.episode import held
from ..core.estimator import AbstractEstimator
from ..core.rollout import group_size
from .step import TrainState

AIM = 0.8  # of what is available, for advice that is an estimate
FIRST_ORDER = 0.4  # of the memory between of second order: 0.36 on LASSO and on digits
WARM = 1  # meta-steps before the clock starts
TIMED = 2  # meta-steps that are timed


class TooLargeError(ValueError):
    """Something takes more memory than there is; the message says what to change."""


class Memory(NamedTuple):
    """Bytes of a compiled meta-step, on all devices of a processor or on one accelerator."""

    whole: int  # what goes in, comes out and lies between
    more: int  # of these, what is not there before the first step
    between: int


def memory(compiled: Any, arguments: PyTree) -> Memory | None:
    """The bytes of a compiled program with these arguments; None where XLA does not count."""
    try:
        found = compiled.memory_analysis()
        sizes = found.argument_size_in_bytes, found.output_size_in_bytes, found.temp_size_in_bytes
    except (AttributeError, NotImplementedError, jax.errors.JaxRuntimeError):
        return None
    copies = jax.local_device_count() if on_cpu() else 1
    into, out, between = (copies * size for size in sizes)
    whole = into + out + between - copies * found.alias_size_in_bytes
    present = sum(_bytes(leaf) for leaf in jtu.tree_leaves(arguments))
    return Memory(whole, whole - min(present, into), between)


def _bytes(leaf: jax.Array) -> int:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return 0
    shards = leaf.addressable_shards
    return sum(s.data.nbytes for s in (shards if on_cpu() else shards[:1]))


def available() -> int | None:
    """Bytes that this process can still take, on an accelerator there; None if nobody says."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        free = [_machine(), *map(_group, _groups())]
        return min((b for b in free if b is not None), default=None)
    stats = device.memory_stats() or {}
    if "bytes_limit" not in stats:
        return None
    return stats["bytes_limit"] - stats.get("bytes_in_use", 0)


def check_room(what: str, needed: int, change: str) -> None:
    """Refuse what takes more memory than is available, before any of it is taken.

    - `what`, `change`: its name, and what to do, for the sentence of the TooLargeError
    - `needed`: bytes
    """
    left = available()
    if left is not None and needed > left:
        raise TooLargeError(
            f"{what} would take about {size(needed)} of memory, but {size(left)} are available; "
            f"{change}."
        )


def _machine() -> int | None:
    """Linux's own estimate of what can be taken without swapping."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024 * int(ln.split()[1]) for ln in lines if ln.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return None


def _groups() -> list[Path]:
    """The control groups of this process, with those above them."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    root, found = Path("/sys/fs/cgroup"), []
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        top = root / "memory" if kinds else root
        here = top / path.lstrip("/")
        found += [here, *(p for p in here.parents if p.is_relative_to(top))]
    return found


def _group(folder: Path) -> int | None:
    """Free memory of a control group; pages of files that it can drop count as free."""
    for limit, usage in (
        ("memory.max", "memory.current"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        try:
            left = int((folder / limit).read_text()) - int((folder / usage).read_text())
            stat = dict(ln.split() for ln in (folder / "memory.stat").read_text().splitlines())
            return left + int(stat.get("inactive_file", 0))
        except (OSError, ValueError):  # absent, or "max"
            continue
    return None


def check(
    found: Memory | None,
    estimator: AbstractEstimator,
    state: TrainState,
    say: Callable[[str], object],
    left: int | None = None,
) -> None:
    """Say what a meta-step takes; TooLargeError if that is not available.

    - `left`: bytes that are; None: what this process can still take
    """
    if found is None:
        return
    left = available() if left is None else left
    if left is None or found.more <= left:
        of = "" if left is None else f" of {size(left)} available"
        say(f"memory: about {size(found.whole)}{of} for a meta-step")
        return
    aim = int(AIM * left)
    ways = [f"{what} (about {size(b)})" for what, b in changes(found, aim, estimator, state)]
    advice = f"Change one of: {'; '.join(ways)}." if ways else "Take a smaller task or optimizer."
    raise TooLargeError(
        f"A meta-step takes about {size(found.whole)} of memory, {size(found.more)} more than is "
        f"in use, but {size(left)} are available. {advice}"
    )


def changes(
    found: Memory, left: int, estimator: AbstractEstimator, state: TrainState
) -> list[tuple[str, int]]:
    """Settings that would fit into `left` bytes, each with an estimate of all that it takes."""
    est_state = state.est_state
    if hasattr(estimator, "parts"):  # a Mix: its first part is the main one
        estimator, est_state = estimator.parts[0].estimator, est_state[0]  # pyright: ignore
    order = getattr(estimator, "order", 1)  # of `Adapted`, whose base has the windows
    estimator = getattr(estimator, "base", estimator)
    windows = getattr(estimator, "windows", estimator)
    episodes, length = getattr(windows, "episodes", 1), getattr(windows, "length", 1)
    outside, there = found.whole - found.between, found.whole - found.more
    room = left + there - outside  # for what lies between
    ways: list[tuple[str, int]] = []
    back = hasattr(estimator, "remat")  # by back-propagation, which keeps every inner step
    if back and (fits := math.floor(length * room / max(found.between, 1))) >= 1:
        ways.append((f"unroll {length} → {fits}", outside + found.between * fits // length))

    episode = getattr(est_state, "episode", None)
    n = tree.size(episode.params) // episodes if episode is not None else 1
    numbers = held(episode) // episodes if episode is not None else 1
    share = _share(episodes)
    group = group_size(share, getattr(windows, "together", None) or lanes_together(numbers))
    if group == share:  # else they take turns already
        fits = math.floor(episodes * (left + there) / found.whole)
        if fits >= 1:
            ways.append((f"episodes {episodes} → {fits}", found.whole * fits // episodes))

    if back and episode is not None:
        lanes = group * episodes // share
        saved = _rematerialised(found, estimator, state, episode, lanes, n)
        ways += [way for way in saved if order == 1 or not way[0].startswith("rows")]
    if order == 2:
        first = outside + int(found.between * FIRST_ORDER)
        ways.append(("second order of adaptation → first", first))
    return [(what, b) for what, b in ways if b - there <= left]


def _rematerialised(
    found: Memory, estimator: Any, state: TrainState, episode: Any, lanes: int, n: int
) -> list[tuple[str, int]]:
    """Memory saved by not keeping the optimizer's inner steps; `lanes` episodes at once."""
    if estimator.remat:
        return []
    count, length = estimator.windows.episodes, estimator.windows.length
    of = lambda part: sum(_bytes(leaf) for leaf in jtu.tree_leaves(part)) // count
    if isinstance(state.opt, AbstractCoordinatewise) and not estimator.second_order:
        kept = length * of(episode.opt_state.rows)
        if estimator.rows is not None or estimator.remat is False or kept > KEPT_BYTES:
            return []
        rows, without = min(SAMPLED_ROWS, n // 2), found.whole - lanes * kept
        if on_cpu():  # replays few rows at once, in room that is free by then
            return [(f"rows {rows}", without), ("BPTT(remat=True)", without)]
        return [(f"rows {rows}", without + lanes * kept * rows // max(n, 1))]
    step = found.between // length  # of the one step that is gone through again
    carried = lanes * length * of((episode.params, episode.opt_state))
    return [("BPTT(remat=True)", found.whole - found.between + step + carried)]


def _share(episodes: int) -> int:
    """Number of episodes of one device."""
    devices = jax.device_count()
    return episodes // devices if episodes % devices == 0 else episodes


def size(count: float) -> str:
    """
    >>> size(3_400_000_000), size(27.1e6), size(900)
    ('3.4 GB', '27 MB', '1 kB')
    """
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def duration(seconds: float) -> str:
    """
    >>> duration(7.2), duration(400), duration(9000)
    ('7 s', '7 min', '2.5 h')
    """
    if seconds < 100:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class Pace:
    """Says after a few meta-steps how long the others will take."""

    def __init__(self, say: Callable[[str], object], steps: int):
        self._say, self._steps = say, steps
        self._count, self._mark = 0, 0.0

    def stepped(self, state: TrainState, step: int) -> None:
        """To be called after each meta-step; waits for the results of the first few."""
        self._count += 1
        if self._count not in (WARM, WARM + TIMED):
            return
        jax.block_until_ready(state.step)
        now = time.perf_counter()
        if self._count > WARM and (left := self._steps - step) > 0:
            each = (now - self._mark) / TIMED
            per = f"{each:.3g} s" if each >= 1 else f"{1e3 * each:.3g} ms"
            self._say(
                f"time: about {duration(each * left)} for the {left} meta-steps to go, {per} each, "
                "besides validation"
            )
        self._mark = now
