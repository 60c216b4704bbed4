"""Does a flatness regularizer reach an optimizer, and with the right sign?

An optimizer of two numbers is meta-trained on pairs of wells of equal depth
(`tasks/synthetic/wells.py`): for the loss alone (strength 0), and for the loss + strength · a
measure of flatness at the end of the unroll. Then it is run on fresh pairs of wells. The question
is the share of runs that end in the wide well.

    python -m steppe.studies.wells.wells run --n 2 --measure trace   # appends to wells.jsonl
    python -m steppe.studies.wells.wells table
    python -m steppe.studies.wells.picture                     # docs/wells.png

What came out, and what was tried before: `README.md` beside this file.
"""

import argparse
import dataclasses
import itertools
import json
import subprocess
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from ...core.episode import begin, unroll
from ...core.measure import AbstractMeasure
from ...core.optimizer import AbstractOptimizer, Fixed, split_meta
from ...estimators.bptt import BPTT
from ...evaluate.stats import interval, paired
from ...flatness.entropy.local_entropy import LocalEntropy
from ...flatness.hessian import HessianTrace, LogDet, TopEigenvalue
from ...objectives.regularized import Regularized
from ...objectives.trajectory import Trajectory
from ...tasks.synthetic.wells import Wells
from ...train.step import meta_step, start

HERE = Path(__file__).parent
RECORDS = HERE / "wells.jsonl"

HORIZON = 30  # inner steps of a meta-training episode: one unroll, differentiated exactly
TEST_HORIZON = 4 * HORIZON  # noise ends at HORIZON; the rest is descent, so that every run settles
RATE = 0.03  # learning rate: about half of 1/λ_narrow, so that both wells are stable
HEAT = 0.14  # length of the first noise vector before meta-training, in every dimension
# Adam's steps do not change with the scale of the objective; a clipped gradient's do, and strength
# is a scale. β₂: a run that is crossing the saddle can have a huge gradient, to be forgotten soon.
META = optax.adam(0.03, b2=0.99)
# Of the entropy. Well above λ_narrow: the Moreau envelope, all that is left of it at τ = 1e-8, is
# then nearly the loss itself, and what is added at τ = 1 is the log-determinant.
GAMMA = 64.0
RESOLUTION = 10.0  # γ of the log-determinant: larger than the negative curvature at the saddle
FIRST_SEED = 100  # seeds below were used to find the settings above

STRENGTHS = {  # measure: strengths tried besides 0
    "trace": (0.02, 0.1),
    "top eigenvalue": (0.03, 0.1),
    "log-det": (0.3, 1.0),
    "entropy, τ = 1": (10.0, 30.0),
    "entropy, τ = 1e-8": (10.0, 30.0),
}
SHORT = {"trace": "trace", "top": "top eigenvalue", "logdet": "log-det"} | {
    "entropy": "entropy, τ = 1",
    "cold": "entropy, τ = 1e-8",
}


def measure(name: str, n: int) -> AbstractMeasure:
    """Exact up to the chance of probes and chains: k = n products."""
    if name == "trace":
        return HessianTrace(probes=4)
    if name == "top eigenvalue":  # "norm": at the saddle the top eigenvalue is a negative one
        return TopEigenvalue("norm", products=n, warm=n)
    if name == "log-det":
        return LogDet(RESOLUTION, k=n)
    temperature = {"entropy, τ = 1": 1.0, "entropy, τ = 1e-8": 1e-8}[name]
    return LocalEntropy(GAMMA, temperature, steps=10, value="monte_carlo")


class Cooled(AbstractOptimizer):
    """Descent with noise that cools to nothing: θ is how hot it begins and how fast it cools.

    x ← x − η g + σ (1 − t/T)^p ξ,   ξ ~ N(0, I);   θ = (ln σ, ln p)
    """

    log_noise: Float[Array, ""]
    log_power: Float[Array, ""]
    rate: Fixed
    horizon: int = eqx.field(static=True, default=HORIZON)

    def init(self, params: Array, *, key=None) -> Int[Array, ""]:
        return jnp.zeros((), jnp.int32)

    def update(self, grads: Array, state: Int[Array, ""], params: Array, *, key, **extra):
        left = 1 - state.astype(grads.dtype) / self.horizon
        hot = left > 0
        # A power of zero has no derivative.
        share = jnp.where(hot, left, 1) ** jnp.exp(self.log_power)
        sigma = jnp.where(hot, jnp.exp(self.log_noise) * share, 0)
        noise = sigma * jr.normal(key, grads.shape, grads.dtype)
        return -self.rate.value * grads + noise, state + 1


def cooled(log_noise: float | Array, log_power: float | Array = 0.0) -> Cooled:
    return Cooled(jnp.asarray(log_noise), jnp.asarray(log_power), Fixed(jnp.asarray(RATE)))


@dataclasses.dataclass(frozen=True)
class Run:
    """One meta-seed at one strength. Equal seeds: same problems, same noise, same test runs."""

    measure: str
    n: int
    strength: float
    seed: int
    wide: float  # share of test runs that end in the wide well
    loss: float  # median loss at the end of these runs
    noise: float  # σ learned
    power: float  # p learned
    flatness: float  # the measure at the end of the last meta-training episodes
    nonfinite: int  # meta-training episodes left out
    tests: int
    meta_steps: int
    episodes: int


def experiment(
    name: str,
    n: int,
    strengths: Sequence[float],
    *,
    seeds: int,
    meta_steps: int,
    episodes: int,
    tests: int,
) -> list[Run]:
    """Meta-train at every strength with every meta-seed, side by side, and test."""
    task = Wells(n)
    estimator = BPTT(
        episodes, HORIZON, HORIZON, second_order=True, stagger=False, together=episodes
    )
    how = measure(name, n)

    def lane(strength: Float[Array, ""], seed: Int[Array, ""]):
        key_train, key_test = jr.split(jr.key(seed))
        objective = Regularized(Trajectory("last", "identity"), how, strength)
        opt = cooled(jnp.log(HEAT / n**0.5))
        state = start(
            task, opt, estimator=estimator, objective=objective, meta_tx=META, key=key_train
        )

        def step(state, _):
            state, stats = meta_step(task, state, estimator, objective, META)
            return state, (stats.parts["flatness"], stats.nonfinite)

        state, (flatness, nonfinite) = jax.lax.scan(step, state, length=meta_steps)
        wide, loss = test(task, state.opt, key_test, tests)
        theta = [jnp.exp(number) for number in jtu.tree_leaves(split_meta(state.opt)[0])]  # σ, p
        last = jnp.nanmean(flatness[-10:])
        return wide.mean(), jnp.median(loss), *theta, last, nonfinite.sum()

    lanes = jax.jit(jax.vmap(jax.vmap(lane, (None, 0)), (0, None)))
    out = jax.device_get(lanes(jnp.array(strengths, float), FIRST_SEED + jnp.arange(seeds)))
    shares, losses, noises, powers, measured, left_out = out
    return [
        Run(
            measure=name,
            n=n,
            strength=strength,
            seed=FIRST_SEED + j,
            wide=float(shares[i, j]),
            loss=float(losses[i, j]),
            noise=float(noises[i, j]),
            power=float(powers[i, j]),
            flatness=float(measured[i, j]),
            nonfinite=int(left_out[i, j]),
            tests=tests,
            meta_steps=meta_steps,
            episodes=episodes,
        )
        for i, strength in enumerate(strengths)
        for j in range(seeds)
    ]


def test(task: Wells, opt: AbstractOptimizer, key, runs: int) -> tuple[Array, Array]:
    """(1 where a run ended in the wide well, its loss there), on `runs` fresh pairs of wells."""

    def one(key):
        key_begin, key_loss = jr.split(key)
        episode = begin(task, opt, key_begin)
        episode, _ = unroll(task, opt, episode, TEST_HORIZON, lambda step: ())
        at = (episode.params, episode.instance, (), key_loss)
        return task.metrics(*at)["wide"], task.loss(*at)

    return jax.vmap(one)(jr.split(key, runs))


def plain_share(n: int, runs: int = 4000) -> float:
    """The share of plain descent, without noise."""
    wide, _ = jax.jit(lambda key: test(Wells(n), cooled(-jnp.inf), key, runs))(jr.key(0))
    return float(wide.mean())


def rows(path: Path = RECORDS) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def cells(records: list[dict]) -> list[tuple[int, str, float, list[dict], list[dict]]]:
    """(n, measure, strength, records, those of strength 0 in the same order of seeds)"""
    found = []
    for n in sorted({r["n"] for r in records}):
        for name in STRENGTHS:
            own = [r for r in records if r["n"] == n and r["measure"] == name]
            by = lambda s, own=own: sorted(
                (r for r in own if r["strength"] == s), key=lambda r: r["seed"]
            )
            found += [
                (n, name, s, by(s), by(0.0)) for s in sorted({r["strength"] for r in own}) if s
            ]
    return found


def table(records: list[dict]) -> str:
    """Shares with 95 % intervals over meta-seeds, and differences seed by seed."""
    lines = [
        "| n | measure | λ | wide at λ = 0 | wide | difference, 95 % | σ | loss |",
        "|---|---|---|---|---|---|---|---|",
    ]
    shares = lambda own: [r["wide"] for r in own]
    mean = lambda own, name: float(np.mean([r[name] for r in own]))
    for n, name, s, ours, plain in cells(records):
        d = paired(shares(ours), shares(plain), lower_is_better=False).difference
        base = f"{interval(shares(plain)).mean:.3f}"
        here = f"{interval(shares(ours)).mean:.3f}"
        rise = f"{d.mean:+.3f} [{d.low:+.3f}, {d.high:+.3f}]"
        noise = f"{mean(plain, 'noise'):.3f} → {mean(ours, 'noise'):.3f}"
        loss = f"{mean(ours, 'loss'):.1e}"
        lines.append(f"| {n} | {name} | {s:g} | {base} | {here} | {rise} | {noise} | {loss} |")
    return "\n".join(lines)


def commit() -> str:
    """The commit, with a + where what these numbers depend on differs from it."""
    git = lambda *words: subprocess.run(
        ["git", "-C", str(HERE.parents[2]), *words], capture_output=True, text=True
    ).stdout.strip()
    parts = ("core", "tasks", "flatness", "objectives", "estimators", "train/step.py")
    used = ["steppe/studies/wells/wells.py", *(f"steppe/{part}" for part in parts)]
    changed = git("status", "--porcelain", "--untracked-files=no", "--", *used)
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def append(name: str, n: int, args: argparse.Namespace) -> None:
    began = time.perf_counter()
    runs = experiment(
        name,
        n,
        (0.0, *(args.strength or STRENGTHS[name])),
        seeds=args.seeds,
        meta_steps=args.meta_steps,
        episodes=args.episodes,
        tests=args.tests,
    )
    about = {
        "seconds": round(time.perf_counter() - began, 1),  # of all runs of this call together
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "commit": commit(),
        "date": f"{datetime.now(UTC):%Y-%m-%dT%H:%MZ}",
    }
    lines = [json.dumps(dataclasses.asdict(run) | about, ensure_ascii=False) for run in runs]
    with args.out.open("a") as file:
        file.write("".join(line + "\n" for line in lines))
    print(table([json.loads(line) for line in lines]), f"\n{about['seconds']} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Flatness regularizers and a pair of wells.")
    parser.add_argument("verb", choices=("run", "table", "plain"))
    parser.add_argument("--n", type=int, nargs="+", default=[2, 10])
    parser.add_argument("--measure", nargs="+", choices=SHORT, default=list(SHORT))
    parser.add_argument("--strength", type=float, nargs="+", help="besides 0; default: STRENGTHS")
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--meta-steps", type=int, default=200)
    parser.add_argument("--episodes", type=int, default=64)
    parser.add_argument("--tests", type=int, default=400)
    parser.add_argument("--out", type=Path, default=RECORDS)
    args = parser.parse_args()
    if args.verb == "run":
        for n, short in itertools.product(args.n, args.measure):
            append(SHORT[short], n, args)
    if args.verb == "plain":
        for n in args.n:
            print(f"n = {n}: plain descent ends wide in {plain_share(n):.3f} of runs")
    if args.verb == "table":
        print(table(rows(args.out)))


if __name__ == "__main__":
    main()
