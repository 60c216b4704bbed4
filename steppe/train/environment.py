"""The surroundings that a number depends on besides its settings, for files that keep numbers."""

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PACKAGES = ("steppe", "jax", "jaxlib", "equinox", "optax", "numpy")


def environment() -> dict[str, Any]:
    """Versions, device, commit and date, as plain data."""
    import jax

    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "device": f"{jax.local_device_count()} × {jax.local_devices()[0].device_kind}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "commit": _commit(),
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    """The processor's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _commit() -> str:
    """The commit of the checkout this package runs from, "" if it is not one."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return ""

    def git(*words: str) -> str:
        command: Sequence[str] = ("git", "-C", str(here), *words)
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
        return done.stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + (
            " with local changes" if git("status", "--porcelain", "--untracked-files=no") else ""
        )
    except (OSError, subprocess.SubprocessError):
        return ""
