"""Settings of the benchmarks."""

import dataclasses

from ...core.settings import check, setting

KINDS = ("rnnprop", "dm")
CELLS = ("gates", "transposed", "lstm_cell", "lstm")  # of the PyTorch peer


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetaStep:
    """Sizes of the benchmark of a meta-step."""

    kinds: tuple[str, ...] = setting(KINDS, "optimizers that are trained", choices=KINDS)
    rounds: int = setting(7, "rounds, in each of which every contender runs once", least=1)
    peers: tuple[str, ...] | None = setting(
        ("gates", "transposed"),
        "ways to write the PyTorch peer, CELL or CELL:together; none: without PyTorch",
        choices=[cell + end for cell in CELLS for end in ("", ":together")],
    )
    processes: int = setting(
        0, "fresh processes in each of which PyTorch / exact is taken again, and nothing else; "
        "0: the whole benchmark", least=0
    )  # fmt: skip

    def __post_init__(self):
        check(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TorchPeer:
    """Sizes of the benchmark of the PyTorch peer."""

    kinds: tuple[str, ...] = setting(KINDS, "optimizers that are trained", choices=KINDS)
    cells: tuple[str, ...] = setting(CELLS, "ways to write the recurrent layers", choices=CELLS)
    compile: bool = setting(False, "compile the update rule with torch.compile")
    repeats: int = setting(3, "meta-steps that are timed, after one to warm up", least=1)

    def __post_init__(self):
        check(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flatness:
    """Sizes of the benchmark of flatness regularizers."""

    kind: str = setting("rnnprop", "optimizer that is trained", choices=KINDS)
    rounds: int = setting(9, "rounds, in each of which every measure runs once", least=1)

    def __post_init__(self):
        check(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curvature:
    """Sizes of the comparison with dense Hessians."""

    probes: int = setting(512, "probes of the log-determinants", least=2)

    def __post_init__(self):
        check(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deployed:
    """Sizes of the benchmark of a deployed step."""

    rounds: int = setting(9, "rounds, in each of which every contender runs once", least=1)
    sizes: tuple[int, ...] = setting(
        (100_000, 1_000_000, 10_000_000), "numbers of parameters", least=100
    )

    def __post_init__(self):
        check(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Formulas:
    """Sizes of the benchmark of a step by a formula."""

    rounds: int = setting(40, "rounds, in each of which every contender runs once", least=1)
    sizes: tuple[int, ...] = setting((1_000_000,), "numbers of parameters", least=100)

    def __post_init__(self):
        check(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Presets:
    """Sizes of the benchmark of the presets."""

    calls: int = setting(30, "meta-steps that are timed", least=1)

    def __post_init__(self):
        check(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompileTensors:
    """Sizes of the benchmark of compilation."""

    rounds: int = setting(5, "compilations of each program, in turn", least=1)

    def __post_init__(self):
        check(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lasso:
    """Sizes of the comparison with scikit-learn on many LASSO problems of one dictionary."""

    rows: int = setting(250, "rows of the dictionary", least=2)
    n: int = setting(500, "columns of the dictionary", least=2)
    problems: int = setting(10_000, "problems", least=1)
    batch: int = setting(500, "problems solved at once; a round is one batch", least=2)
    peers: int = setting(500, "problems that scikit-learn solves, spread over the rounds", least=1)
    train: float = setting(30.0, "seconds of training, compiling aside", above=0)

    def __post_init__(self):
        check(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unrolled:
    """Sizes of the benchmark of unrolled networks."""

    rounds: int = setting(50, "rounds, in each of which every contender runs once", least=1)
    full: bool = setting(True, "256 × 512 with 16 layers as well, not 64 × 128 with 10 alone")

    def __post_init__(self):
        check(self)

    @property
    def sizes(self) -> tuple[tuple[int, int, int, int], ...]:
        """Rows, unknowns, layers and episodes."""
        full = ((256, 512, 16, 32), (256, 512, 16, 64)) if self.full else ()
        return ((64, 128, 10, 64), *full)


META_STEP = {"tiny": MetaStep(rounds=2, kinds=("rnnprop",)), "small": MetaStep()}
TORCH_PEER = {"tiny": TorchPeer(kinds=("rnnprop",), repeats=1), "small": TorchPeer()}
FLATNESS = {"tiny": Flatness(rounds=2), "small": Flatness()}
CURVATURE = {"tiny": Curvature(probes=32), "small": Curvature()}
DEPLOYED = {"tiny": Deployed(rounds=2, sizes=(100_000,)), "small": Deployed()}
FORMULAS = {"tiny": Formulas(rounds=2, sizes=(100_000,)), "small": Formulas()}
LASSO = {
    "tiny": Lasso(rows=32, n=64, problems=200, batch=40, peers=20, train=2.0),
    "small": Lasso(),
}
PRESETS = {"tiny": Presets(calls=3), "small": Presets()}
COMPILE_TENSORS = {"tiny": CompileTensors(rounds=1), "small": CompileTensors()}
UNROLLED = {"tiny": Unrolled(rounds=3, full=False), "small": Unrolled()}
