"""A claim as a certificate writes it: its numbers, its bound, and the counts behind it."""

import dataclasses
from typing import Any

import numpy as np

from . import bounds
from .claims import AbstractClaim, MeanIterations
from .ends import Ends
from .plan import Item


def entry(item: Item, values: np.ndarray, metric: str, steps: int) -> dict[str, Any]:
    """A claim as a certificate writes it: its numbers, its bound, and the counts behind it.

    - `item`: the claim and its share of δ
    - `values`: one number a task, (n,)
    - `metric`: name of the error
    - `steps`: length of the runs, K
    """
    claim, n = item.claim, len(values)
    bound: Any = claim.bound(values, item.delta, item.method) if item.method != "dkw" else None
    if item.method == "dkw":
        bound = min(1.0, values.sum() / n + bounds.dkw(n, item.delta))
    finite = lambda x: None if np.isinf(x) else float(x)
    fields = {
        field.name: getattr(claim, field.name)
        for field in dataclasses.fields(claim)  # pyright: ignore[reportArgumentType]
        if field.name != "holds"
    }
    if isinstance(claim, Ends):
        fields["measures"] = [dataclasses.asdict(m) for m in claim.measures]
    return {
        "type": claim.kind,
        **fields,
        "n": n,
        "delta": item.delta,
        "method": method_of(item),
        "evidence": evidence(claim, values, steps),
        "bound": list(map(finite, bound)) if isinstance(bound, tuple) else finite(bound),
        "statement": claim.statement(bound, metric, steps),
    }


def evidence(claim: AbstractClaim, values: np.ndarray, steps: int) -> dict[str, Any]:
    """Failures of a binary claim, rows of `Ends`, or the count of each value; None stands for ∞."""
    if claim.binary:
        return {"failures": int(values.sum())}
    if isinstance(claim, Ends):
        return {"rows": [[None if np.isinf(x) else float(x) for x in row] for row in values]}
    if isinstance(claim, MeanIterations):
        values = np.round(values * steps)
    found, counts = np.unique(values, return_counts=True)
    return {
        "values": [
            [None if np.isinf(x) else float(x), int(count)]
            for x, count in zip(found, counts, strict=True)
        ]
    }


def method_of(item: Item) -> str:
    if item.claim.binary:
        return item.method
    if isinstance(item.claim, Ends):
        return "joint_order_statistic"
    if isinstance(item.claim, MeanIterations):
        return "kl" if item.method in ("clopper_pearson", "dkw") else item.method
    return "order_statistic"
