"""10 000 LASSO problems of one dictionary to a relative gap of 1e-6, beside scikit-learn, in pairs.

    ½‖Ax − b‖² + 0.1 ‖x‖₁,   A 250 × 500 with columns of length 1, b = A x♯, a tenth of x♯ not 0

    FISTA        with restart, float32, a batch of problems at once
    StepFISTA    the same with steps and momenta that were learned on other problems of the family
    scikit-learn coordinate descent (`ElasticNet`), float64, a problem after the other, with and
                 without the Gram matrix, which all problems share; on a sample of them, since it
                 does not depend on how many there are

    steppe reproduce speed.lasso --scale small

Every round runs all contenders once, each on problems of its own; ratios are taken round by round.
Seconds are those of wall-clock, and of the processor (of all threads together): ours use all
cores, coordinate descent one. All stop by their duality gap, ours looking every ten iterations and
leaving out what is solved once half of the batch is. The gap at which each stops is, on a grid of
ratio 10^¼, the one after the loosest with which all of some other problems come to
F(x) − F(x*) ≤ 1e-6 F(x*). (In float32 no x has
a duality gap of 1e-6, which goes by the gradient; F(x) does come so close to F(x*).) What is
reported was computed afterwards in float64, with a lower bound of F(x*) by duality.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...evaluation.engines import Row
from ..study import Cell
from .clock import CORES, benchmark, cell, found, peak_mib
from .settings import Lasso

GAP = 1e-6
BLOCK = 10  # iterations between two looks at the duality gap
LIMIT = 1000
WEIGHT, DENSITY = 0.1, 0.1
CALIBRATED_ON = 30  # problems, for scikit-learn; ours on a batch
GRID = 10.0 ** -np.arange(2.0, 8.01, 0.25)
EXACT = 1e-7  # of the lower bounds

Solve = Callable[[np.ndarray, float], np.ndarray]  # (problems, rows), tolerance → (problems, n)


def task(rows: int, n: int):
    from ...tasks.inverse.recovery import SparseRecovery

    return SparseRecovery(rows, n, weight=WEIGHT, density=DENSITY, seed=0)


def values(A: Any, b: Any, x: Any, np: Any = np) -> tuple[Any, Any]:
    """The loss and a lower bound of its minimum, for rows of b and x; `np` may be jax.numpy."""
    r = x @ A.T - b
    largest = np.max(np.abs(r @ A), axis=-1)
    nu = np.minimum(1, WEIGHT / np.maximum(largest, 1e-30))[:, None] * r
    value = np.sum(r**2, axis=-1) / 2 + WEIGHT * np.sum(np.abs(x), axis=-1)
    return value, -np.sum(nu**2, axis=-1) / 2 - np.sum(nu * b, axis=-1)


def bounds(A: np.ndarray, b: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Lower bounds of the minima, EXACT: FISTA with restart in float64 on all rows at once.

    - `start`: (problems, n), near the minima so that it is quick
    """
    step = 1 / np.linalg.norm(A, 2) ** 2
    x = y = start
    t, best = np.ones((len(b), 1)), np.full(len(b), -np.inf)
    for k in range(10_000):
        if k % BLOCK == 0:
            value, dual = values(A, b, x)
            best = np.maximum(best, dual)
            if (value - best <= EXACT * value).all():
                break
        z = y - step * (y @ A.T - b) @ A
        after = np.sign(z) * np.maximum(np.abs(z) - step * WEIGHT, 0)
        move = after - x
        uphill = np.sum((y - after) * move, axis=1, keepdims=True) > 0
        grown = (1 + np.sqrt(1 + 4 * t**2)) / 2
        y = after + np.where(uphill, 0, (t - 1) / grown) * move
        x, t = after, np.where(uphill, 1, grown)
    return best


def gaps(A: np.ndarray, b: np.ndarray, x: np.ndarray, least: np.ndarray) -> np.ndarray:
    """(F(x) − F(x*)) / F(x*) at most, `least` being lower bounds of F(x*)."""
    return (values(A, b, x)[0] - least) / np.where(least > 0, least, 1)


def ours(opt: Any, rows: int, n: int) -> Solve:
    """Solve a batch, halved whenever half of it is done."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from ...core.episode import Episode, restart, unroll
    from ...core.rollout import nothing
    from ...tasks.inverse.recovery import Measured

    family = task(rows, n)
    key, zero = jax.random.key(0), jnp.zeros((), jnp.int32)

    @jax.jit
    def begin(b):
        def one(b):
            x = jnp.zeros(n)
            return restart(Episode(Measured(b, x, None), x, (), zero, key), x, opt)

        return jax.vmap(one)(b)

    @eqx.filter_jit
    def advance(family, episodes):
        step = lambda episode: unroll(family, opt, episode, BLOCK, nothing)[0]
        episodes = jax.vmap(step)(episodes)
        A = family.shared.A
        value, dual = values(A, episodes.instance.b, episodes.params, jnp)
        return episodes, value - dual, value

    @jax.jit
    def keep(episodes, which):
        return jax.tree.map(lambda leaf: leaf[which], episodes)

    def solve(b: np.ndarray, tolerance: float) -> np.ndarray:
        found, where = np.zeros((len(b), n)), np.arange(len(b))
        episodes = begin(jnp.asarray(b, jnp.float32))
        for _ in range(LIMIT // BLOCK):
            episodes, gap, value = advance(family, episodes)
            left = np.asarray(gap) > tolerance * np.asarray(value)
            if not left.any() or left.sum() <= len(left) // 2:
                found[where] = np.asarray(episodes.params)
            if not left.any():
                return found
            if left.sum() <= len(left) // 2:
                # Exactly half stays, so that there are few programs.
                which = np.argsort(~left, kind="stable")[: len(left) // 2]
                episodes, where = keep(episodes, which), where[which]
        found[where] = np.asarray(episodes.params)
        return found

    return solve


def descent(A: np.ndarray, gram: bool) -> Solve:
    """scikit-learn's coordinate descent, one problem after the other."""
    from sklearn.linear_model import ElasticNet

    A = np.asfortranarray(A, np.float64)
    how = {"alpha": WEIGHT / len(A), "l1_ratio": 1.0, "fit_intercept": False, "max_iter": 100_000}
    shared: Any = A.T @ A if gram else False

    def solve(b: np.ndarray, tolerance: float) -> np.ndarray:
        peer = ElasticNet(**how, tol=tolerance, precompute=shared, copy_X=False)
        return np.stack([peer.fit(A, row).coef_.copy() for row in b])

    return solve


def loosest(A: np.ndarray, b: np.ndarray, least: np.ndarray, solve: Solve) -> float:
    """The tolerance after the loosest with which all of these problems come to the gap."""
    for tolerance, tighter in itertools.pairwise(map(float, GRID)):
        if gaps(A, b, solve(b, tolerance), least).max() <= GAP:
            return tighter
    raise RuntimeError(f"A solver does not come to {GAP:g}; look at GRID.")


def learned(rows: int, n: int, seconds: float) -> tuple[Any, dict[str, Any]]:
    """StepFISTA, trained for so long on problems of its own; and how."""
    import jax.random as jr

    from ...optimizers.learned.step_fista import StepFISTA
    from ...solvers.family import Family, WithMinimum
    from ...solvers.training import first

    family = WithMinimum(task(rows, n))
    loss = family.composite(family.task.sample(jr.key(0)))
    began = time.perf_counter()
    training = first(Family(family, "gap", loss, True), StepFISTA(100), jr.key(7))
    compiling = time.perf_counter() - began
    training.advance(lambda done: (time.perf_counter() - began - compiling) / seconds)
    about = {"meta_steps": training.steps, "seconds": seconds, "compile_s": compiling}
    return training.opt, about


def contest(
    rows: int, n: int, problems: int, batch: int, peers: int, train: float
) -> dict[str, Any]:
    """Seconds a problem of each contender, round by round, and the gaps that they left."""
    from ...train.mesh import use_cores

    use_cores(1)  # one device, whose products use all cores
    import jax
    import jax.random as jr

    from ...optimizers.classic.proximal import FISTA

    family = task(rows, n)
    A = np.asarray(family.shared.A, np.float64)  # pyright: ignore[reportOptionalMemberAccess]
    draw = jax.jit(lambda keys: jax.vmap(lambda key: family.sample(key).b)(keys))
    b = np.asarray(draw(jr.split(jr.key(1), problems)), np.float64)
    spare = np.asarray(draw(jr.split(jr.key(2), batch)), np.float64)
    opt, training = learned(rows, n, train)
    rounds, few = problems // batch, spare[:CALIBRATED_ON]
    solvers: dict[str, tuple[Solve, int, np.ndarray]] = {
        "FISTA": (ours(FISTA(restart=True), rows, n), batch, spare),
        "StepFISTA": (ours(opt, rows, n), batch, spare),
        "scikit-learn": (descent(A, False), peers // rounds, few),
        "scikit-learn, Gram": (descent(A, True), peers // rounds, few),
    }
    least = bounds(A, spare, np.zeros((batch, n)))
    tolerances = {  # and compiled
        name: loosest(A, on, least[: len(on)], solve) for name, (solve, _, on) in solvers.items()
    }
    seen: dict[str, dict[str, list[float]]] = {
        name: {"wall": [], "processor": [], "gap": [], "share": []} for name in solvers
    }
    for i in range(rounds):
        these = b[i * batch : (i + 1) * batch]
        ends = {}
        for name, (solve, count, _) in solvers.items():
            began = time.perf_counter(), time.process_time()
            ends[name] = solve(these[:count], tolerances[name])
            ended = time.perf_counter(), time.process_time()
            seen[name]["wall"].append((ended[0] - began[0]) / count)
            seen[name]["processor"].append((ended[1] - began[1]) / count)
        least = bounds(A, these, ends["FISTA"])
        for name, x in ends.items():
            gap = gaps(A, these[: len(x)], x, least[: len(x)])
            seen[name]["gap"].append(float(gap.max()))
            seen[name]["share"].append(float((gap <= GAP).mean()))
    return {
        "training": training,
        "tolerances": tolerances,
        "solved": {name: count * rounds for name, (_, count, _) in solvers.items()},
        "rounds": seen,
        "peak_mib": peak_mib(),
    }


def cells(settings: Lasso) -> Iterator[Cell]:
    yield cell(
        contest,
        rows=settings.rows,
        n=settings.n,
        problems=settings.problems,
        batch=settings.batch,
        peers=settings.peers,
        train=settings.train,
    )


def report(settings: Lasso, rows: Sequence[Row]) -> dict[str, Any]:
    results = [result for _, result in found(rows, contest)]
    return results[0] | summary(results[0]) if results else {}


def summary(result: Mapping[str, Any]) -> dict[str, Any]:
    """Medians over rounds, ratios round by round, and the verdict."""
    seen, table = result["rounds"], {}
    for name, told in seen.items():
        table[name] = {
            f"{clock}_ms": 1e3 * float(np.median(told[clock])) for clock in ("wall", "processor")
        } | {
            "largest_gap": max(told["gap"]),
            "share_within": float(np.mean(told["share"])),
            "problems": result["solved"][name],
        }
    peers = [name for name in seen if name.startswith("scikit-learn")]
    peer = min(peers, key=lambda name: table[name]["processor_ms"])
    ratios = {
        name: {
            clock: quartiles(np.array(seen[peer][clock]) / np.array(seen[name][clock]))
            for clock in ("wall", "processor")
        }
        for name in seen
        if name not in peers
    }
    best = max(ratios, key=lambda name: ratios[name]["processor"][1])
    said = (
        f"{best}: {table[best]['wall_ms']:.3g} ms a problem by the clock and "
        f"{table[best]['processor_ms']:.3g} ms of the processor; {peer}: "
        f"{table[peer]['wall_ms']:.3g} and {table[peer]['processor_ms']:.3g} ms."
    )
    below = all(ratios[best][clock][0] > 1 for clock in ("wall", "processor"))
    return {
        "table": table,
        "peer": peer,
        "times_as_fast": ratios,
        "below_scikit_learn": below,
        "verdict": said,
        "cores_of_ours": CORES,
    }


def quartiles(x: np.ndarray) -> list[float]:
    """Lower quartile, median, upper quartile."""
    return [float(q) for q in np.percentile(x, (25, 50, 75))]


STUDY = benchmark(cells, report)
