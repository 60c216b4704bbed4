"""Checks of the health of a run, on its log and on its probe. Standard library only.

Every check is a function of numbers that returns a `Finding`, good or bad. The thresholds are
rules of thumb, named here and said in the findings. `doctor.py` takes the numbers of a probe.
"""

import dataclasses
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence

BAD_SHARE = 0.01  # of the episodes
EXPLODED = 1e3  # × the median of the gradient norms
EARLY = 0.1  # of the meta-steps done
FEW = 10  # rows or validations under which a trend is not judged
DEAD = 1e-3  # of the first loss: less than that is no change
SIZES = 1e-3, 1e3  # updates over Adam's at a rate of 1e-3, which is within 100 of most tasks' best
SMALL = 1e-2  # of the size of Adam's updates: with less than that an output is dead
SATURATED = 0.5  # of the updates
DRIFT = 3.0  # × from the first horizon to the last: a cell that counts steps grows 5 times
FLAT = 10.0  # |c| of an LSTM from which tanh(c) has no slope left, 1 − tanh² < 1e-8
GAP = 0.25  # of the loss at the horizon


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing looked at. Where `ok` is false, `fix` says what to do about it."""

    what: str
    ok: bool
    evidence: str
    fix: str = ""
    # of the evidence; None in a file: not finite
    numbers: Mapping[str, float | None] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Probe:
    """A short training with the optimizer: `len(losses)` horizons in a row, several problems.

    Losses are of one batch that stays the same, and like all numbers means over the problems
    unless said otherwise.
    """

    horizon: int
    first: float  # loss before the first step
    losses: tuple[float, ...]  # after each horizon
    lost: int | None  # steps before the first loss that is not finite, of any problem
    gap: float  # rise of the training loss from the end of the first horizon to that of the last
    rms: float  # of the updates, over the first horizon
    rms_adam: float  # of Adam's at a rate of 1e-3 on the same gradients
    at_bound: float | None  # share of the updates within 1 % of the largest there can be
    cells: tuple[float, ...]  # largest |c| of an LSTM in each horizon, of all problems; () without
    seconds: float
    scale: float | None = None  # of the optimizer's output, where it has one to choose


def of_rows(rows: Sequence[Mapping]) -> list[Finding]:
    """All checks on the rows of a log."""
    return [zero_gradient(rows), nonfinite(rows), exploded(rows), moving(rows), best_early(rows)]


def of_probe(probe: Probe) -> list[Finding]:
    """All checks on a probe."""
    checks = [learning(probe), update_size(probe), longer(probe)]
    checks += [saturation(probe)] if probe.at_bound is not None else []
    return [*checks, cells(probe)] if probe.cells else checks


def zero_gradient(rows: Sequence[Mapping]) -> Finding:
    what, norms = "meta-gradient", numbers(rows, "grad_norm")
    zeros = sum(norm == 0 for norm in norms)
    found = {"zero_rows": zeros, "rows": len(norms)}
    if zeros == 0:
        return Finding(what, True, f"never zero in {len(norms)} rows", numbers=found)
    fix = (
        "the updates do not depend on the weights: a saturated or dead output layer; use a smaller "
        "`meta.lr`, another `run.seed`, or `meta.clip`"
    )
    return Finding(what, False, f"exactly zero in {zeros} of {len(norms)} rows", fix, found)


def nonfinite(rows: Sequence[Mapping]) -> Finding:
    """Episodes, meta-losses and validations that were not finite."""
    share = sum(numbers(rows, "nonfinite")) / max(sum(numbers(rows, "episodes")), 1)
    broken = sum(
        not _finite(row[n]) for row in rows for n in ("meta_loss", "grad_norm") if n in row
    )
    valid = [row["valid_loss"] for row in rows if "valid_loss" in row]
    found = {"share": share, "rows": broken, "validations": sum(not _finite(v) for v in valid)}
    text = [f"{share:.1%} of the episodes were not finite"]
    text += [f"{broken} rows have a meta-loss or a gradient that is not"] if broken else []
    last = bool(valid) and not _finite(valid[-1])
    text += ["the last validation diverged"] if last else []
    ok = share <= BAD_SHARE and not broken and not last
    fix = (
        "the optimizer makes problems diverge: lower `meta.lr`, a smaller `meta.clip`, a shorter "
        "`estimator.unroll`"
    )
    return Finding("divergence", ok, ", ".join(text), "" if ok else fix, found)


def exploded(rows: Sequence[Mapping]) -> Finding:
    norms = [norm for norm in numbers(rows, "grad_norm") if norm > 0]
    median = statistics.median(norms) if norms else 0.0
    high = [norm for norm in norms if norm > EXPLODED * median]
    found = {"median": median, "largest": max(norms, default=0.0), "rows": len(high)}
    if not high:
        text = f"median {median:.3g}, no row over {EXPLODED:.0f} times that"
        return Finding("gradient norm", True, text, numbers=found)
    text = (
        f"{len(high)} rows over {EXPLODED:.0f} times the median {median:.3g}, up to {max(high):.3g}"
    )
    fix = (
        "the unroll is chaotic: shorten `estimator.unroll`, keep `meta.clip` on, or use "
        "`estimator.kind pes`"
    )
    return Finding("gradient norm", False, text, fix, found)


def moving(rows: Sequence[Mapping]) -> Finding:
    """Check that the last fifth of the meta-losses is below the first, beyond their noise."""
    what, losses = "meta-loss", numbers(rows, "meta_loss")
    if len(losses) < FEW:
        return Finding(what, True, f"too early to say after {len(losses)} rows")
    if any(row.get("stage") for row in rows):
        return Finding(what, True, "not judged: a curriculum changes what it is the loss of")
    n = max(len(losses) // 5, 2)
    first, last = statistics.fmean(losses[:n]), statistics.fmean(losses[-n:])
    # Standard error of a difference of two means, the noise taken from neighbouring rows.
    steps = [b - a for a, b in itertools.pairwise(losses)]
    error = math.sqrt(statistics.fmean(s * s for s in steps) / n)
    found = {"first": first, "last": last, "error": error}
    text = f"{first:.4g} at first, {last:.4g} at last"
    if first - last > 2 * error:
        return Finding(what, True, text, numbers=found)
    fix = "not moving: raise `meta.lr` or `run.steps`, or look at the meta-gradient"
    return Finding(what, False, f"{text}, a change within the noise", fix, found)


def best_early(rows: Sequence[Mapping]) -> Finding:
    judged = [row for row in rows if "valid_loss" in row]
    if judged:  # of the last stage of a curriculum: scores at other lengths do not compare
        judged = [row for row in judged if row.get("stage") == judged[-1].get("stage")]
    scores = [(row["valid_loss"], row["step"]) for row in judged if _finite(row["valid_loss"])]
    if len(scores) < FEW:
        return Finding("best checkpoint", True, f"too early to say after {len(scores)} validations")
    (best, step), begun = min(scores), scores[0][1]
    last = rows[-1]["step"]
    found = {"best_step": step, "last_step": last, "best": best, "last": scores[-1][0]}
    text = f"meta-step {step} of {last}"
    if step - (begun if judged[-1].get("stage") else 0) > EARLY * (last - begun):
        return Finding("best checkpoint", True, text, numbers=found)
    text += f", very early: validation loss {best:.4g} there, {scores[-1][0]:.4g} at last"
    fix = (
        "training made it worse from there: lower `meta.lr`, raise `estimator.horizon` or "
        "`estimator.episodes`"
    )
    return Finding("best checkpoint", False, text, fix, found)


def learning(probe: Probe) -> Finding:
    """Check that a training with the optimizer lowers the loss at all."""
    what, before, after = "probe: loss", probe.first, probe.losses[0]
    found = {"first": before, "at_horizon": after, "seconds": probe.seconds}
    text = f"{before:.4g} at first, {after:.4g} after {probe.horizon} steps"
    if not math.isfinite(after):
        return Finding(what, True, f"{text}, see longer runs", numbers=found)
    if before - after > DEAD * abs(before):
        return Finding(what, True, text, numbers=found)
    if after - before > DEAD * abs(before):
        fix = "it makes the loss worse than no training: lower `meta.lr`, or raise `run.steps`"
        return Finding(what, False, text, fix, found)
    if probe.rms > SMALL * probe.rms_adam:
        fix = "its updates have a size but lead nowhere: lower `meta.lr`, or raise `run.steps`"
        return Finding(what, False, f"{text}, equal to the initial loss", fix, found)
    fix = f"a dead output scaling: {rescaled(probe, 10)}raise `meta.lr`, or try another `run.seed`"
    return Finding(what, False, f"{text}, equal to the initial loss", fix, found)


def update_size(probe: Probe) -> Finding:
    ratio = probe.rms / probe.rms_adam if probe.rms_adam > 0 else math.nan
    found = {"rms": probe.rms, "rms_adam": probe.rms_adam, "ratio": ratio}
    text = f"RMS {probe.rms:.2g}, {ratio:.2g} × that of Adam at 1e-3 on the same gradients"
    low, high = SIZES
    if math.isnan(ratio) or low <= ratio <= high:  # not a number: of a run that was lost
        return Finding("probe: update size", True, text, numbers=found)
    small = ratio < low
    fix = "far too small: " if small else "far too large: "
    fix += rescaled(probe, 10 if small else 0.1)
    fix += "raise `meta.lr`" if small else "lower `meta.lr`, or `meta.clip`"
    return Finding("probe: update size", False, text, fix, found)


def rescaled(probe: Probe, factor: float) -> str:
    """Advise another output scale, as the first of several things to try."""
    if probe.scale is None:
        return ""
    return f"meta-train with `optimizer.scale {factor * probe.scale:.2g}`, "


def saturation(probe: Probe) -> Finding:
    share = probe.at_bound or 0.0
    text = f"{share:.0%} of the updates within 1 % of the largest possible"
    ok, found = share <= SATURATED, {"share": share}
    fix = (
        "the output tanh is saturated, passes no meta-gradient, and steps cannot get larger: "
        f"{rescaled(probe, 10)}lower `meta.lr`, or `meta.clip`"
    )
    return Finding("probe: saturation", ok, text, "" if ok else fix, found)


def cells(probe: Probe) -> Finding:
    """Check that the cells of an LSTM stop growing where it runs longer than it was trained."""
    what, first, last = "probe: LSTM state", probe.cells[0], probe.cells[-1]
    count, found = len(probe.cells), {"first": first, "last": last}
    text = f"largest |c| {first:.3g} in the first {probe.horizon} steps, {last:.3g} in the last"
    if all(map(math.isfinite, probe.cells)) and not (last > FLAT and last > DRIFT * first):
        return Finding(what, True, text, numbers=found)
    fix = (
        f"it grows without bound beyond its horizon: meta-train on longer episodes "
        f"(`estimator.horizon`, or `curriculum.horizons` up to {count * probe.horizon})"
    )
    return Finding(what, False, text, fix, found)


def longer(probe: Probe) -> Finding:
    """Check that an inner training that goes on after the horizon does not get worse."""
    what, end = "probe: longer runs", len(probe.losses) * probe.horizon
    found = {"gap": probe.gap, "at_horizon": probe.losses[0], "at_end": probe.losses[-1]}
    fix = (
        f"it was never trained beyond its horizon: raise `estimator.horizon`, or use "
        f"`curriculum.horizons {probe.horizon},{end}`"
    )
    if probe.lost is not None:
        text = f"not finite after {probe.lost} of {end} steps"
        if probe.lost < probe.horizon:
            fix = (
                "it diverges within its horizon: lower `meta.lr` or `meta.clip`, raise `run.steps`"
            )
        return Finding(what, False, text, fix, found | {"lost": probe.lost})
    text = (
        f"loss {probe.losses[0]:.4g} after {probe.horizon} steps, {probe.losses[-1]:.4g} after "
        f"{end}; the training loss is {probe.gap:+.0%} between their ends"
    )
    if probe.gap <= GAP:
        return Finding(what, True, text, numbers=found)
    return Finding(what, False, text, fix, found)


def numbers(rows: Sequence[Mapping], name: str) -> list[float]:
    """The finite values of a column."""
    return [row[name] for row in rows if _finite(row.get(name))]


def _finite(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
