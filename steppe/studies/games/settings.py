"""Settings of the study of games. Standard library only."""

import dataclasses

from ...core.settings import check, setting

LETTERS = ("M1", "M2", "M3", "M4")
M1 = ("saddle", "rotated-saddle", "seesaw", "matrix-game")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GamesSizes:
    """Sizes of the study."""

    letters: tuple[str, ...] = setting(LETTERS, "parts of the study", unit="letters")
    panels: tuple[str, ...] = setting(M1, "games of M1", unit="games")
    hidden: int = setting(50, "units of a layer of a Twin on games of one unknown each", least=1)
    hidden_5: int = setting(20, "the same on matrix games of five and more unknowns", least=1)
    hidden_ranges: int = setting(20, "the same on the seesaws of all ranges", least=1)
    epochs: int = setting(200, "epochs of a training, 50 steps of every episode each", least=1)
    episodes: int = setting(128, "episodes side by side of a training", least=1)
    episodes_5: int = setting(64, "the same on matrix games of five and more unknowns", least=1)
    episodes_ranges: int = setting(32, "the same on the seesaws of all ranges", least=1)
    problems: int = setting(500, "test problems of a game", least=8)
    steps: int = setting(1000, "steps on a test problem", least=50)
    tuned_on: int = setting(32, "other problems that the rates of rivals are tuned on", least=1)
    ranges: tuple[int, ...] = setting((1, 3, 4, 6, 7), "ranges of the seesaw", unit="numbers")
    seeds: int = setting(3, "trainings of a Twin on each range", least=1)
    dimensions: tuple[int, ...] = setting((5, 10, 20, 50), "unknowns of a bilinear game's players")
    games: int = setting(40, "bilinear games of each dimension", least=2)
    most: int = setting(60_000, "gradients after which a bilinear game is given up", least=100)
    updates: int = setting(300, "meta-steps of the learned extragradient", least=1)
    folder: str = setting(
        "", "folder of the published games: M3 is played with their matrices, too; none: left out"
    )

    def __post_init__(self):
        check(self)
        if unknown := [letter for letter in self.letters if letter not in LETTERS]:
            raise ValueError(f"letters: there is no {unknown[0]!r}, only {', '.join(LETTERS)}.")
        if unknown := [panel for panel in self.panels if panel not in M1]:
            raise ValueError(f"panels: there is no {unknown[0]!r}, only {', '.join(M1)}.")
        if wrong := [number for number in self.ranges if not 1 <= number <= 7]:
            raise ValueError(f"ranges: a range is a number from 1 to 7, got {wrong[0]}.")


SCALES = {
    "tiny": GamesSizes(
        letters=("M1", "M4"), panels=("seesaw",), hidden=8, hidden_5=8, hidden_ranges=8,
        epochs=4, episodes=16, episodes_5=16, episodes_ranges=16, problems=16, steps=200,
        tuned_on=4, ranges=(1,), seeds=1, dimensions=(5,), games=8, most=4000, updates=40,
    ),
    "small": GamesSizes(),
    "paper": GamesSizes(
        hidden_5=80, hidden_ranges=50, episodes_5=128, episodes_ranges=128,
        ranges=(1, 2, 3, 4, 5, 6, 7), games=200,
    ),
}  # fmt: skip
