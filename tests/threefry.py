"""Random bits as one call of C++ in every program: the same bits, much less to compile.

JAX writes a loop of some hundred operations into a program wherever random numbers are drawn or a
key is split. In a small program that draws a dozen times this is half of what there is to compile.
"""

import ctypes
import os
import subprocess
import zlib
from importlib.metadata import version
from pathlib import Path

import jax
from jax._src.interpreters import mlir
from jax.extend.random import threefry2x32_p

SOURCE = Path(__file__).with_suffix(".cc")
CALL = "steppe_tests_threefry"


def install(folder: Path) -> None:
    """Use the library in `folder`, made if it is missing; without a compiler all stays as it is."""
    try:
        handler = ctypes.CDLL(str(library(folder))).Threefry
    except (OSError, subprocess.CalledProcessError):  # no compiler, or no place to write
        return
    jax.ffi.register_ffi_target(CALL, jax.ffi.pycapsule(handler), platform="cpu")
    mlir.register_lowering(threefry2x32_p, lower, platform="cpu")


def library(folder: Path) -> Path:
    """The path of the compiled library."""
    stamp = zlib.crc32(SOURCE.read_bytes() + version("jaxlib").encode())
    made = folder / f"threefry-{stamp:08x}.so"
    if not made.exists():
        folder.mkdir(parents=True, exist_ok=True)
        new = made.with_suffix(f".{os.getpid()}")
        options = ["-O1", "-std=c++17", "-fPIC", "-shared", "-w", "-I", jax.ffi.include_dir()]
        subprocess.run(["c++", *options, SOURCE, "-o", new], check=True, capture_output=True)
        new.replace(made)  # whole or not at all
    return made


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
