"""The verdict of a search in one sentence: is a learned solver better, and by how much."""

from .record import Record, Row, best

UNITS = ((1.0, "s", 1.0), (1e-3, "ms", 1e3), (0.0, "µs", 1e6))


def verdict(record: Record) -> str:
    """The sentence, from the rows alone."""
    winner = record.row(record.winner)
    learned, by_hand = (best(record.rows, record.by, kind) for kind in ("learned", "by hand"))
    other = by_hand if winner.learned else learned
    head = f"Take {winner.name}: {_cost(record, winner)}"
    if other is None:
        return f"{head}; no learned solver could be judged{_quicker(record, winner)}."
    return f"{head}; {_beside(record, winner, other)}{_quicker(record, winner)}."


def _quicker(record: Record, winner: Row) -> str:
    """A rival that takes less time, if there is one."""
    cost = None if record.by == "iterations" else _last(record, winner)
    times = {row.alone[-1]: row.name for row in record.rows if row.kind == "rival" and row.alone}
    least = min((time for time in times if time is not None), default=None)
    if least is None or (cost is not None and cost <= least) or record.by == "iterations":
        return ""
    said = "comes there on all that it was tried on" if cost is None else "is quicker"
    return f". {times[least]}, one problem at a time, {said}: {duration(least)}"


def _beside(record: Record, winner: Row, other: Row) -> str:
    """The best of the other kind beside the winner."""
    kind = "learned solver" if other.learned else "solver made by hand"
    ours, theirs = (_last(record, row) for row in (winner, other))
    said = f"the best {kind}, {other.name}, "
    if theirs is None:
        return f"{said}came so far on {_share(other)} of them"
    said += f"takes {_amount(record, theirs)}"
    if ours:
        said += f", {theirs / ours:.3g} times as {_word(record)}"
    if ours and theirs < ours:
        said += " here, though it needed more on the problems to choose by"
    if record.by != "iterations" and None not in (winner.iterations[-1], other.iterations[-1]):
        said += (
            f" ({_count(winner.iterations[-1])} iterations against {_count(other.iterations[-1])})"
        )
    return said


def _cost(record: Record, row: Row) -> str:
    cost = _last(record, row)
    if cost is None:
        return f"{_goal(record)} on {_share(row)} of {record.problems} problems"
    how = {"batch": " in batches", "alone": " one at a time", "iterations": ""}[record.by]
    return f"{_amount(record, cost)} a problem{how} to {_goal(record)}"


def _share(row: Row) -> str:
    return f"{100 * (row.reached[-1] if row.reached else 0):.3g} %"


def _goal(record: Record) -> str:
    hardest = record.tolerances[-1]
    if record.goal == "recovery":
        return f"{short(hardest)} dB"
    return f"a relative gap of {short(hardest)}"


def _last(record: Record, row: Row) -> float | None:
    """What decides: the cost to the hardest tolerance."""
    found = {"batch": row.batch, "alone": row.alone, "iterations": row.iterations}[record.by]
    return found[-1] if found else None


def _word(record: Record) -> str:
    return "many" if record.by == "iterations" else "long"


def _amount(record: Record, cost: float) -> str:
    return f"{_count(cost)} iterations" if record.by == "iterations" else duration(cost)


def _count(x: float | None) -> str:
    return "?" if x is None else f"{x:.3g}"


def short(x: float) -> str:
    """A number in few signs.

    >>> short(1e-6), short(-40.0)
    ('1e-6', '−40')
    """
    return f"{x:g}".replace("e-0", "e-") if x > 0 else f"{x:g}".replace("-", "−")


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    >>> duration(0.00123), duration(2.5e-5)
    ('1.23 ms', '25 µs')
    """
    least, unit, factor = next(row for row in UNITS if seconds >= row[0])
    del least
    return f"{seconds * factor:.3g} {unit}"
