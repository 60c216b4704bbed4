"""Can a formula be meta-trained on a network where its teacher's memory does not suffice?

One episode of a ResNet-20 (269 722 parameters) on CIFAR-10. A meta-step is compiled and its memory
counted by XLA, before anything runs, as `meta_train` does; what is not in LIMIT is refused.

    unroll    the meta-gradient by back-propagation through the whole unroll, as in the published
              code, with second order: activations of the optimizer are kept for every step
    replay    steppe's own way for rules that treat coordinates alone: gradients and cotangents are
              recorded, the rule is run again block by block

By the formula, where it fits, a few meta-steps are taken in a fresh process. Its peak memory, of
these steps and not of the compiler, is read off the system (Linux).

    steppe reproduce symbolic.scale --scale small
"""

import ctypes
import gc
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.random as jr
import optax

from ...core.optimizer import AbstractOptimizer
from ...core.task import AbstractTask
from ...estimators.bptt import BPTT
from ...evaluation.engines import Row
from ...objectives.trajectory import Trajectory
from ...optimizers.learned.symbolic import Symbolic
from ...tasks import build
from ...train import preflight
from ...train.loop import compile_step
from ...train.step import start
from ...zoo import load
from ..study import (
    Cell,
    Conclusion,
    Record,
    Study,
    Verdict,
    in_fresh_process,
    markdown,
    records,
    sentences,
)
from .sizes import Scale
from .tuning import FORMULA

TASK = "cifar10-resnet20"
LIMIT = 4 * 2**30  # bytes
OPTIMIZERS = ("formula", "rnnprop-v1")
ROADS = ("unroll", "replay")


def cells(settings: Scale) -> Iterator[Cell]:
    sizes = {"length": settings.length, "batch": settings.batch, "steps": settings.steps}
    for road in ROADS:
        for name in OPTIMIZERS:
            yield {"optimizer": name, "road": road, "folder": settings.folder, **sizes}


def run(cell: Cell) -> dict[str, Any]:
    return in_fresh_process(f"{__name__}:measure", cell=cell)


def measure(cell: Cell) -> dict[str, Any]:
    """Memory of a meta-step by XLA's count, the refusal if there is one, and steps taken."""
    opt = Symbolic(FORMULA) if cell["optimizer"] == "formula" else load(cell["optimizer"])
    task = problem(cell)
    estimator = BPTT(1, cell["length"], 10 * cell["length"], second_order=cell["road"] == "unroll")
    objective, meta_tx = Trajectory(), optax.adam(0.01)
    state = start(
        task, opt, estimator=estimator, objective=objective, meta_tx=meta_tx, key=jr.key(0)
    )
    step, state, seconds = compile_step(task, state, estimator, objective, meta_tx, None)
    assert step.memory is not None
    found: dict[str, Any] = {
        "bytes": step.memory.more, "compile": seconds, "refused": None, "state": state_floats(opt),
    }  # fmt: skip
    try:
        preflight.check(step.memory, estimator, state, lambda text: None, LIMIT)
    except preflight.TooLargeError as error:
        return found | {"refused": str(error)}
    if cell["optimizer"] != "formula":
        return found
    forget_peak()
    losses, began = [], time.perf_counter()
    for _ in range(cell["steps"]):
        state, stats = step(state)
        losses.append(float(jax.block_until_ready(stats.loss)))
    taken = (time.perf_counter() - began) / cell["steps"]
    return found | {"losses": losses, "seconds": taken, "peak": peak()}


def forget_peak() -> None:
    """Give back what the compiler has freed, and let Linux count the peak of memory anew."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Largest resident memory of this process since `forget_peak`, in bytes. Linux alone."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def problem(cell: Cell) -> AbstractTask:
    where = {"folder": cell["folder"]} if cell["folder"] else {}
    return build(TASK, batch_size=cell["batch"], **where)


def state_floats(opt: AbstractOptimizer) -> int:
    """Numbers that the optimizer remembers of a coordinate."""
    rows = jax.eval_shape(lambda: opt.init(jax.numpy.zeros(1000))).rows
    return round(sum(leaf.size for leaf in jax.tree.leaves(rows)) / 1000)


def conclude(settings: Scale, rows: Sequence[Row]) -> Conclusion:
    found = records(rows)
    head = ["meta-gradient by", "optimizer", "floats a coordinate", "a meta-step takes",
            f"in {gib(LIMIT)}", "taken: peak of the process", "seconds each"]  # fmt: skip
    lines = [
        [r["road"], r["optimizer"], str(r["state"]), gib(r["bytes"]),
         "refused" if r["refused"] else "fits",
         gib(r["peak"]) if "peak" in r else "–", f"{r['seconds']:.1f}" if "peak" in r else "–"]
        for r in found
    ]  # fmt: skip
    said = verdicts(found)
    refusals = [f"> {r['optimizer']}, {r['road']}: {r['refused']}" for r in found if r["refused"]]
    parts = [markdown(head, lines), *refusals, sentences(said)]
    return Conclusion("\n\n".join(parts), {"records": found}, said)


def gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB"


def verdicts(found: Sequence[Record]) -> list[Verdict]:
    at = {(r["road"], r["optimizer"]): r for r in found}
    ours, theirs = (at["unroll", name] for name in OPTIMIZERS)
    again, teacher = (at["replay", name] for name in OPTIMIZERS)
    return [
        Verdict(
            f"Unrolled, the formula is meta-trained within {gib(LIMIT)} where RNNProp is refused",
            not ours["refused"] and bool(theirs["refused"]),
            f"{gib(ours['bytes'])} against {gib(theirs['bytes'])}",
        ),
        Verdict(
            f"The process that takes the formula's meta-steps stays below {gib(LIMIT)}",
            all(r["peak"] < LIMIT for r in (ours, again) if "peak" in r) and "peak" in ours,
            ", ".join(gib(r["peak"]) for r in (ours, again) if "peak" in r) or "none was taken",
        ),
        Verdict(
            "Replayed, RNNProp takes at most twice the formula's memory: the gap is closed",
            teacher["bytes"] <= 2 * again["bytes"],
            f"{gib(teacher['bytes'])} against {gib(again['bytes'])}",
        ),
    ]


STUDY = Study(cells, f"{__name__}:run", conclude, workers=1)
