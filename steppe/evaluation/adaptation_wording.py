"""Sentences about an adaptation, from its record alone."""

from typing import TYPE_CHECKING

from .stats import Interval

if TYPE_CHECKING:
    from .adaptation import Adaptation


def verdict(found: "Adaptation") -> str:
    """Did adaptation help, and by how much."""
    n, steps = len(found.given), count(found.horizon, "step")
    if not found.kept:
        tried = found.updates * (len(found.rates) if found.rates else 1)
        few = "the update that was tried" if tried == 1 else f"any of the {tried} candidates"
        return (
            f"Not adapted: on the problems of validation, {found.optimizer} as it was did not do "
            f"worse than {few}, and is kept."
        )
    seen = found.compared
    head = {
        "better": "Adaptation helps",
        "worse": "Adaptation harms, though it looked better on the problems of validation",
        "no difference seen": "No difference seen",
    }[seen.verdict]
    said = f"{head}: after {steps} on {n} fresh problems, the loss "
    d = found.ratio if found.ratio is not None else seen.difference
    if d.mean is None:
        said += "is not finite on any that both could train"
    elif found.ratio is not None:
        said += f"is {_digits(d.mean)} times that of {found.optimizer} as it was{_within(d)}"
    else:
        said += f"differs from that of {found.optimizer} as it was by {d.mean:+.3g}{_within(d)}"
    if seen.diverged or seen.diverged_theirs:
        said += f"; adapted, {seen.diverged} of them diverged, as it was {seen.diverged_theirs}"
    return said + "."


def price(found: "Adaptation") -> str:
    """Gradients that adapting and choosing cost."""
    adapting, choosing = found.cost["adaptation"], found.cost["validation"]
    if adapting.gradients is None or choosing.gradients is None:
        return "How many gradients it cost is not known: its steps take varying numbers of them."
    whole = adapting.gradients + choosing.gradients
    return (
        f"It cost {whole:,} gradients of the problems' losses: {adapting.gradients:,} to adapt and "
        f"{choosing.gradients:,} to choose."
    )


def divergence(found: "Adaptation") -> str:
    """A warning that adaptation was not finite."""
    where = "at its own rates" if found.rates is None else "at every rate"
    end = "no update is kept" if not found.kept else "the best of what was finite is kept"
    return (
        f"adapt: {where}, adaptation came to losses or gradients that are not finite "
        f"({count(found.nonfinite, 'episode')} left out); {end}. Try lower rates."
    )


def _within(d: Interval) -> str:
    if d.low is None or d.high is None:
        return ""
    return f" (95 % interval {_digits(d.low)} to {_digits(d.high)})"


def _digits(x: float) -> str:
    return f"{x:.3g}"


def count(n: int, what: str) -> str:
    """A number of things, as words."""
    return f"{n:,} {what}" + ("" if n == 1 else "s")
