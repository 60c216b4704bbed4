"""What each command can be told. Standard library only: bad usage is answered without JAX."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .checks import at_least, check_seed, listed, not_negative, positive
from .flat import Flat
from .parse import PLACE
from .techniques import Curriculum, Imitation

ALL = {"nothing": "all"}  # metadata: the word for None


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What meta-training minimises along an unroll (`steppe.Trajectory`).

    - `weights`: of the losses after each step: equal, growing with the step, only the last,
      or 1 each
    - `transform`: of each loss: none, ratio to the episode's first loss, logarithm of that
    - `batch`: where losses are taken: on the training batches, on fresh ones, on the
      validation split
    """

    weights: Literal["uniform", "ramp", "last", "sum"] = "uniform"
    transform: Literal["identity", "ratio", "log"] = "log"
    batch: Literal["same", "fresh", "valid"] = "same"


@dataclass(frozen=True, kw_only=True)
class Train:
    """Meta-train a learned optimizer on a task.

    --preset NAME sets the options to those of a published recipe (`steppe list presets`); what is
    given besides it counts.

    The run folder gets config.json, env.json, metrics.jsonl, checkpoints, and at the end
    model.safetensors: the optimizer with the best validation score. A run that was stopped, in
    whatever way, goes on exactly where it was with `steppe train --resume DIR`.

    - `task`: what to train on, see `steppe list tasks`
    - `opt`: what to train, see `steppe list optimizers`
    - `preset`: a published recipe to start from
    - `hidden`: widths of its recurrent layers, e.g. 20,20 (default: the paper's)
    - `scaling`: half width, in ln, of a random scaling of every coordinate; 0: none
    - `convex`: variables of a convex function added to the task; 0: none
    - `estimator`: of the meta-gradient: back-propagation through time, evolution strategies, or
      persistent ones
    - `sigma`: standard deviation of the perturbations of the latter two
    - `steps`: meta-steps, at most with a curriculum
    - `unroll`: inner steps between two meta-steps
    - `horizon`: inner steps of an episode
    - `episodes`: episodes in parallel
    - `rows`: coordinates sampled for back-propagation; fewer is faster and noisier
    - `second_order`: differentiate through the gradients of the task as well
    - `meta_opt`: the meta-optimizer
    - `meta_lr`: its learning rate
    - `meta_decay`: of that rate: none, or to zero at the last meta-step along a cosine
    - `clip`: largest norm of a meta-gradient
    - `clip_each`: largest size of each of its entries
    - `seed`: of everything random
    - `validate_every`: meta-steps between two validations; 0: no validation, the last optimizer
      is kept
    - `validation_episodes`: inner trainings of a validation
    - `validate_by`: what is compared: the loss on held-out data, or the objective of meta-training
    - `checkpoint_every`: meta-steps between two checkpoints
    - `out`: run folder (default: runs/TASK-OPT-SEED)
    - `resume`: go on with the run of this folder, with its own options
    - `config`: TOML (or YAML) file of options; the command line wins
    - `log`: also write event files for TensorBoard into the run folder
    - `cores`: processor cores to spread episodes over
    - `no_probe`: no short run of the new optimizer for the doctor
    - `json`: print the result as one JSON document
    - `quiet`: print the result only
    """

    task: str
    opt: str
    preset: str | None = None
    hidden: tuple[int, ...] = ()
    scaling: float = 0.0
    convex: int = 0
    estimator: Literal["bptt", "es", "pes"] = "bptt"
    sigma: float = 0.01
    steps: int = 1000
    unroll: int = 20
    horizon: int = 100
    episodes: int = 8
    rows: int | None = field(default=None, metadata=ALL)
    second_order: bool = False
    meta_opt: Literal["adam", "rmsprop"] = "adam"
    meta_lr: float = 1e-3
    meta_decay: Literal["none", "cosine"] = "none"
    clip: float | None = 1.0
    clip_each: float | None = None
    curriculum: Curriculum = field(default_factory=Curriculum)
    imitation: Imitation = field(default_factory=Imitation)
    objective: Objective = field(default_factory=Objective)
    flat: Flat = field(default_factory=Flat)
    seed: int = 0
    validate_every: int = 100
    validation_episodes: int = 8
    validate_by: Literal["valid", "objective"] = "valid"
    checkpoint_every: int = 100
    out: Path | None = None
    resume: Path | None = None
    config: Path | None = None
    log: Literal["tensorboard"] | None = None
    cores: int | None = field(default=None, metadata=ALL)
    no_probe: bool = False
    json: bool = False
    quiet: bool = False

    def __post_init__(self):
        whole = ("steps", "unroll", "horizon", "episodes", "rows", "checkpoint_every", "cores")
        for name in (*whole, "validation_episodes"):
            at_least(1, self, name)
        for name in ("validate_every", "convex"):
            at_least(0, self, name)
        for name in ("meta_lr", "clip", "clip_each", "sigma"):
            positive(self, name)
        not_negative(self, "scaling")
        stages = self.curriculum.horizons
        if stages and not self.validate_every:
            raise ValueError(
                "--curriculum.horizons goes by validation, which --validate-every 0 switches off; "
                "leave one of them out."
            )
        if stages and self.flat.active != "always":
            raise ValueError(
                f"--flat.active {self.flat.active} is a share of the horizon, which a curriculum "
                "changes; leave one of them out."
            )
        if len(self.imitation.ratio) > 1 and not stages:
            raise ValueError(
                f"--imitation.ratio {listed(self.imitation.ratio)} is one number a stage; add "
                "--curriculum.horizons, or give one number."
            )
        if self.estimator != "bptt" and (self.rows is not None or self.second_order):
            raise ValueError(
                f"--rows and --second-order are about back-propagation, which --estimator "
                f"{self.estimator} does without; leave them out."
            )
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"--hidden must be widths of at least 1, got {listed(self.hidden)}.")
        if self.rows is not None and self.second_order:
            raise ValueError(
                "--rows samples coordinates, which --second-order makes impossible; "
                "leave one of them out."
            )
        if self.flat.every > self.unroll:
            raise ValueError(
                f"--flat.every is {self.flat.every}, but an unroll has {self.unroll} steps, so "
                "that nothing would be measured; give at most --unroll."
            )
        check_seed(self.seed)


@dataclass(frozen=True, kw_only=True)
class Eval:
    """Compare an optimizer with hand-made ones on a task, on equal problems seed by seed.

    The learning rate of each baseline is tuned on the validation split, for each horizon anew.

    - `optimizer`: a .safetensors file, a run folder, or the name of a pretrained or hand-made one
    - `task`: what to train with it (default: the task the optimizer was meta-trained on)
    - `horizons`: inner steps to train for, e.g. 100 500 (default: as in meta-training, and 5 times
      that)
    - `baselines`: what to compare it with; none: nothing
    - `no_tune`: take customary learning rates for the baselines instead of tuning them
    - `seeds`: inner trainings of each optimizer
    - `seed`: of everything random
    - `out`: folder for records.jsonl, which `steppe report` reads
    - `cores`: processor cores to spread seeds over
    - `json`: print the result as one JSON document
    - `quiet`: print the result only
    """

    optimizer: str = field(metadata=PLACE)
    task: str | None = None
    horizons: tuple[int, ...] = ()
    baselines: tuple[str, ...] | None = ("sgd", "momentum", "adam")
    no_tune: bool = False
    seeds: int = 10
    seed: int = 0
    out: Path | None = None
    cores: int | None = field(default=None, metadata=ALL)
    json: bool = False
    quiet: bool = False

    def __post_init__(self):
        for name in ("seeds", "cores"):
            at_least(1, self, name)
        if any(horizon < 1 for horizon in self.horizons):
            horizons = listed(self.horizons)
            raise ValueError(f"--horizons must be steps of at least 1, got {horizons}.")
        check_seed(self.seed)


@dataclass(frozen=True, kw_only=True)
class Curvature:
    """Train a task with an optimizer, and tell how curved the loss is at the point it ends.

    Everything is measured on one large batch, with standard errors: traces, eigenvalues, the
    spectral density, log-determinant, local entropy, sharpness, and slices of the loss.

    - `optimizer`: a .safetensors file, a run folder, or the name of a pretrained or hand-made one
    - `task`: what to train with it (default: the task the optimizer was meta-trained on)
    - `lr`: learning rate of a hand-made optimizer (default: tuned on the validation split)
    - `steps`: inner steps to train for
    - `batch`: training examples that curvature is measured on
    - `k`: Lanczos steps from each random vector
    - `probes`: random vectors; errors fall with their square root
    - `gamma`: curvature that counts as flat, of log-determinant and entropy
    - `temperature`: of the entropy, in units of the loss (default: 1 over the number of training
      examples)
    - `rho`: radius of the sharpness
    - `points`: points to a side of the landscape, and twice as many along a line
    - `seed`: of everything random
    - `out`: write an HTML page with the table and pictures
    - `json`: print everything as one JSON document
    - `quiet`: print the result only
    """

    optimizer: str = field(metadata=PLACE)
    task: str | None = None
    lr: float | None = None
    steps: int = 100
    batch: int | None = field(default=2000, metadata=ALL)
    k: int = 10
    probes: int = 40
    gamma: float = 1.0
    temperature: float | None = None
    rho: float = 0.05
    points: int = 25
    seed: int = 0
    out: Path | None = field(default=None, metadata={"short": "-o"})
    json: bool = False
    quiet: bool = False

    def __post_init__(self):
        for name in ("steps", "batch", "probes"):
            at_least(1, self, name)
        for name in ("k", "points"):
            at_least(2, self, name)
        for name in ("lr", "gamma", "rho"):
            positive(self, name)
        not_negative(self, "temperature")
        check_seed(self.seed)


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Meta-train an optimizer, compare it with tuned baselines, and say what came out.

    Takes about a minute on a laptop; downloads nothing.

    - `fast`: judge optimizers that come trained, in some seconds (`steppe list pretrained`)
    - `seed`: of everything random
    - `out`: folder for the run and its report (default: runs/demo-SEED)
    - `cores`: processor cores to spread episodes over
    - `json`: print the result as one JSON document
    - `quiet`: print the result only
    """

    fast: bool = False
    seed: int = 0
    out: Path | None = None
    cores: int | None = field(default=None, metadata=ALL)
    json: bool = False
    quiet: bool = False

    def __post_init__(self):
        at_least(1, self, "cores")
        check_seed(self.seed)


@dataclass(frozen=True, kw_only=True)
class List:
    """Name the tasks, optimizers, presets, data sets and measures that the other commands take.

    Suites are named lists of tasks; what is pretrained can be used wherever a checkpoint can.

    - `what`: tasks, suites, optimizers, presets, pretrained, data or measures (default: all)
    - `json`: print them as one JSON document
    """

    what: (
        Literal["tasks", "suites", "optimizers", "presets", "pretrained", "data", "measures"] | None
    ) = field(default=None, metadata=PLACE)
    json: bool = False


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Check the installation, or with a run folder, look for what went wrong in that run.

    Of a comparison it is asked whether its baselines were tuned. Exit code 1 if a check failed;
    each failure comes with what to do about it.

    - `run`: a folder that `steppe train`, `eval --out` or `demo` wrote
    - `json`: print the findings as one JSON document
    - `quiet`: print only what failed
    """

    run: Path | None = field(default=None, metadata=PLACE)
    json: bool = False
    quiet: bool = False


@dataclass(frozen=True, kw_only=True)
class Theory:
    """Check the theory behind the flatness measures by numbers, here and now (docs/theory.md).

    Every line compares two ways to one number, or the two sides of an inequality, in double
    precision; random ones may be off by 4 standard errors. Exit code 1 if a line does not hold.

    - `seed`: of everything random
    - `json`: print the lines as one JSON document
    - `quiet`: print only what does not hold
    """

    seed: int = 0
    json: bool = False
    quiet: bool = False

    def __post_init__(self):
        check_seed(self.seed)


@dataclass(frozen=True, kw_only=True)
class Reproduce:
    """Do a study again from scratch, table and verdicts; `flatness` is the one there is.

    A stopped study goes on where it was: call it again with the same folder. Exit code 1 if a part
    of it failed.

    - `study`: flatness: does flatness-aware meta-training make trained models generalise?
    - `scale`: minutes, hours, or the sizes of the papers (which asks before it begins)
    - `out`: folder (default: runs/STUDY-SCALE)
    - `engine`: one process, several, or a Ray cluster
    - `workers`: cells under way at a time (default: one a core)
    - `yes`: do not ask
    - `json`: print the findings as one JSON document
    - `quiet`: print the findings only
    """

    study: str = field(metadata=PLACE)
    scale: Literal["tiny", "small", "paper"] = "tiny"
    out: Path | None = None
    engine: Literal["serial", "processes", "ray"] = "processes"
    workers: int | None = None
    yes: bool = False
    json: bool = False
    quiet: bool = False

    def __post_init__(self):
        at_least(1, self, "workers")
