"""Random bits as one call of C++ in every program: the same bits, much less to compile.

JAX writes a loop of some hundred operations into a program wherever random numbers are drawn or a
key is split. In small programs, which are most in a test run, that is half of what there is to
compile.
"""

import ctypes
import os
import shutil
import subprocess
import zlib
from importlib.metadata import version
from pathlib import Path

import jax
from jax._src.interpreters import mlir
from jax.extend.random import threefry2x32_p

SOURCE = Path(__file__).with_suffix(".cc")
CALL = "steppe_tests_threefry"


def install(folder: Path) -> bool:
    """Use the library in `folder`, made first if it is missing; False if it cannot be made."""
    library = built(folder)
    if library is None:
        return False
    handler = ctypes.CDLL(str(library)).Threefry
    jax.ffi.register_ffi_target(CALL, jax.ffi.pycapsule(handler), platform="cpu")
    mlir.register_lowering(threefry2x32_p, lower, platform="cpu")
    return True


def built(folder: Path) -> Path | None:
    """The compiled library, or None without a compiler or a place to write."""
    stamp = zlib.crc32(SOURCE.read_bytes() + version("jaxlib").encode())
    library = folder / f"threefry-{stamp:08x}.so"
    if library.exists():
        return library
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        return None
    new = library.with_suffix(f".{os.getpid()}")
    options = ["-O1", "-std=c++17", "-fPIC", "-shared", "-w", "-I", jax.ffi.include_dir()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([compiler, *options, SOURCE, "-o", new], check=True, capture_output=True)
        new.replace(library)  # whole or not at all
    except (OSError, subprocess.CalledProcessError):
        return None
    return library


def lower(ctx, *operands):
    """The call on operands of one shape."""
    out, _ = ctx.avals_out
    if 0 in out.shape:
        return [mlir.full_like_aval(ctx, 0, out)] * 2
    rank = len(out.shape)
    whole = [
        mlir.broadcast_in_dim(ctx, x, out, broadcast_dimensions=range(rank - aval.ndim, rank))
        for x, aval in zip(operands, ctx.avals_in, strict=True)
    ]
    return jax.ffi.ffi_lowering(CALL)(ctx.replace(avals_in=(out,) * 4), *whole)
