"""The formula of a shipped optimizer, on its card."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...zoo.io import Formula, Likeness, card, write_card


def release(path: Path, record: Mapping[str, Any]) -> None:
    """Write a shipped optimizer as it is, with what the record of its teacher says on its card.

    - `record`: of the study, of the part "teacher"
    """
    name = record["teacher"]
    formula = formula_of(record)
    write_card(path, name, dataclasses.replace(card(name), formula=formula))


def formula_of(record: Mapping[str, Any]) -> Formula:
    tests = (x for x in record["ratios"]["chosen"] if x["part"] == "test")
    return Formula(
        optimizer=record["teacher"],
        text=record["formula"],
        nodes=record["nodes"],
        r2=record["held"],
        likeness=tuple(map(likeness_of, tests)),
    )


def likeness_of(x: Mapping[str, Any]) -> Likeness:
    """One ratio of a distillation, rounded for a card."""
    short = lambda value: None if value is None else float(f"{value:.4g}")
    return Likeness(
        task=x["task"], steps=x["steps"], n=x["problems"],
        mean=short(x["mean"]), low=short(x["low"]), high=short(x["high"]),
    )  # fmt: skip
