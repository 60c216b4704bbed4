"""`--curriculum.…` and `--imitation.…` of `steppe train`. Standard library only."""

from dataclasses import dataclass, fields
from typing import Literal

from ..zoo.recipe import TEACHERS
from .checks import at_least, listed, positive


@dataclass(frozen=True, kw_only=True)
class Curriculum:
    """Episodes that grow longer when validation stops improving (`steppe.Curriculum`).

    - `horizons`: inner steps of an episode, stage by stage, e.g. 100,200,500; none: no curriculum
    - `patience`: validations that a stage gets at least
    """

    horizons: tuple[int, ...] = ()
    patience: int = 3

    def __post_init__(self):
        if any(horizon < 1 for horizon in self.horizons):
            raise ValueError(
                f"--curriculum.horizons must be steps of at least 1, got {listed(self.horizons)}."
            )
        at_least(1, self, "patience", "curriculum.")


@dataclass(frozen=True, kw_only=True)
class Imitation:
    """Now and then a meta-step on what a teacher would do (`steppe.Imitation`).

    - `teachers`: adam, rmsprop, nag, sgd, or self: the optimizer as it was at the start;
      none: no imitation
    - `lr`: their learning rate
    - `ratio`: share of imitation among the meta-steps, with a curriculum stage by stage, the
      last one repeated
    - `follow`: who leads the run that both see
    - `every`: the student sees every so many of the teacher's steps
    - `weights`: 1 for each step, or 1 over their number
    - `shared`: one state of the meta-optimizer for all losses instead of one each
    """

    teachers: tuple[str, ...] = ()
    lr: float = 0.01
    ratio: tuple[float, ...] = (0.3,)
    follow: Literal["teacher", "student"] = "teacher"
    every: int = 1
    weights: Literal["sum", "uniform"] = "sum"
    shared: bool = False

    def __post_init__(self):
        for teacher in self.teachers:
            if teacher not in TEACHERS:
                raise ValueError(
                    f"--imitation.teachers cannot have {teacher!r}; use {listed(TEACHERS)}."
                )
        positive(self, "lr", "imitation.")
        at_least(1, self, "every", "imitation.")
        if not self.ratio or any(not 0 <= chance <= 1 for chance in self.ratio):
            raise ValueError(
                f"--imitation.ratio must be numbers from 0 to 1, got {listed(self.ratio)}."
            )
        if self.every > 1 and self.follow == "student":
            raise ValueError(
                "--imitation.every needs --imitation.follow teacher: a student that leads sees "
                "every gradient."
            )
        if not self.teachers:
            for field in fields(self):
                value = getattr(self, field.name)
                if value != field.default:
                    raise ValueError(
                        f"--imitation.{field.name} was given ({value}), but there is no teacher; "
                        "add --imitation.teachers adam."
                    )
