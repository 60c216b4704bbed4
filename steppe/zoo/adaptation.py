"""The adaptation that a recipe trains an optimizer for (M-L2O).

Plain data, standard library only; `assemble.py` makes `Adapted` and `Adapter` of it.
"""

import dataclasses
from typing import Literal

from ..core.settings import check, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adaptation:
    """Steps of adaptation that each episode begins with (`steppe.Adapted`)."""

    rate: float | None = setting(
        None,
        "size of the steps by which the optimizer adapts to each episode before it is scored; 0: "
        "it stays as it is, for comparison (default: no adaptation)",
        least=0,
        nothing="never",
    )
    steps: int = setting(1, "steps of adaptation to an episode, all on one unroll", least=1)
    outer: Literal["same", "next"] = setting(
        "same",
        "unroll on which the adapted optimizer is scored: the one that it adapted on, or the next",
    )
    order: int = setting(
        1,
        "order of the meta-gradient: 1, or 2 to differentiate the steps of adaptation as well",
        least=1,
        most=2,
    )
    inner: Literal["sgd", "adam"] = setting("sgd", "kind of the steps of adaptation")
    learn_rate: bool = setting(
        False, "train the sizes of these steps, one for each tensor of the optimizer"
    )
    updates: int = setting(
        5,
        "updates by Adam at rate 0.001 that an optimizer adapts by before each validation; 0: none",
        least=0,
    )

    def __post_init__(self):
        check(self, "adapted.")
        if self.learn_rate and not self.rate:
            raise ValueError(
                "`adapted.learn_rate` trains the rate from where `adapted.rate` begins, which must "
                f"be positive for that, got {'none' if self.rate is None else self.rate}."
            )

    def check_with(self, kind: str, rows: int | None) -> None:
        """Refuse an estimator with which there is no adaptation.

        - `kind`, `rows`: as in `Estimator`
        """
        if self.rate is not None and kind != "bptt":
            raise ValueError(
                "`adapted.rate` is about steps along the gradient of an unroll, so it needs "
                f"`estimator.kind bptt`, got {kind}."
            )
        if self.rate is not None and self.order == 2 and rows is not None:
            raise ValueError(
                "`adapted.order 2` differentiates a gradient of all coordinates, but "
                f"`estimator.rows {rows}` samples them; leave one of them out."
            )
