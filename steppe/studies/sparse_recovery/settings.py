"""Settings of the study of sparse recovery. Standard library only."""

import dataclasses

from ...core.settings import check, setting

PANELS = ("noiseless", "noisy", "correlated", "large")
MORE = ("conditioned", "large-noisy")  # which the benchmark has too


@dataclasses.dataclass(frozen=True, kw_only=True)
class SparseRecoverySizes:
    """Sizes of the study."""

    panels: tuple[str, ...] = setting(
        PANELS, f"panels of the figure; there are {' and '.join(MORE)} too"
    )
    methods: tuple[str, ...] = setting((), "solvers; none: all that a panel has")
    every: bool = setting(False, "all solvers in each panel, also those that fail there")
    rows: int = setting(64, "measurements of the first three panels", least=4)
    n: int = setting(128, "unknowns of the first three panels", least=8)
    layers: int = setting(10, "layers of the first three panels", least=1, most=2**16)
    large_rows: int = setting(256, "measurements of the large panel", least=4)
    large_n: int = setting(512, "unknowns of the large panel", least=8)
    large_layers: int = setting(16, "layers of the large panel", least=1, most=2**16)
    stages: tuple[int, ...] = setting((200, 200, 100), "meta-steps of the three stages of a layer")
    large_stages: tuple[int, ...] = setting(
        (30, 30, 15), "meta-steps of the three stages of a layer of the large panel"
    )
    episodes: int = setting(32, "fresh problems of a meta-step", least=1)
    problems: int = setting(1024, "test problems of a panel", least=8)
    certified: int = setting(10_000, "problems of a certificate; 0: none", least=0)
    seeds: int = setting(1, "matrices A, each with trainings and problems of its own", least=1)

    def __post_init__(self):
        check(self)
        if unknown := [panel for panel in self.panels if panel not in PANELS + MORE]:
            known = ", ".join(PANELS + MORE)
            raise ValueError(f"panels: there is no {unknown[0]!r}, only {known}.")
        for rows, n in (("rows", "n"), ("large_rows", "large_n")):
            if getattr(self, rows) > getattr(self, n):
                raise ValueError(f"{rows}: at most as many measurements as unknowns, {n}.")
        for name in ("stages", "large_stages"):
            if len(getattr(self, name)) != 3 or min(getattr(self, name)) < 1:
                raise ValueError(f"{name}: expected three numbers of meta-steps, each at least 1.")


SCALES = {
    "tiny": SparseRecoverySizes(
        panels=("noiseless", "large"), methods=("FISTA", "AMP", "OMP", "ALISTA", "HyperLISTA"),
        rows=16, n=32, layers=4, large_rows=32, large_n=64, large_layers=4, stages=(20, 20, 20),
        large_stages=(20, 20, 20), problems=64, certified=500,
    ),
    "small": SparseRecoverySizes(),
    "paper": SparseRecoverySizes(
        rows=256, n=512, layers=16, large_rows=512, large_n=1024, stages=(2400, 2400, 1200),
        large_stages=(2400, 2400, 1200), episodes=64, certified=1_000_000, seeds=3,
    ),
}  # fmt: skip
