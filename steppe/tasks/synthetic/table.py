"""The synthetic tasks by name: class and arguments."""

from ...core.task import AbstractTask
from .quadratic import DM, SCALE, Quadratic
from .wells import Wells

SYNTHETIC: dict[str, tuple[type[AbstractTask], dict]] = {  # name: class, arguments
    "quadratic": (Quadratic, SCALE),
    "quadratic-dm": (Quadratic, DM),
    "wells": (Wells, {}),
}
