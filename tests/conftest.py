"""What all tests share: float64, no silent broadcasting, fresh keys, compiled programs on disk."""

import gc
import itertools
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import jax
import jax.random as jr
import pytest

from steppe.core.types import Key

# Compiling is most of a test run, so optimise less: without XLA's fusion emitters and LLVM's passes
# a meta-step takes less than half as long. Below level 3 XLA for CPU returns wrong gradients of
# convolution → batch norm → ReLU → jnp.max, hence `max_pool` in tasks/networks.
# A program in one part compiles in less time than in several, which pays for few cores.
FLAGS = (
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false "
    "--xla_cpu_parallel_codegen_split_count=1"
)
os.environ["XLA_FLAGS"] = f"{FLAGS} {os.environ.get('XLA_FLAGS', '')}"

jax.config.update("jax_num_cpu_devices", 2)  # so that spreading episodes is tested
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_include_full_tracebacks_in_locations", False)  # 3 % of a test run

# Programs that took long to compile are kept for the next run.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    cache = Path(__file__).parents[1] / ".cache" / "jax"
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def pytest_configure(config: pytest.Config) -> None:
    # JAX writes entries in place: another test run may see half of one. Then it compiles.
    config.addinivalue_line(
        "filterwarnings", "ignore:Error (reading|writing) persistent compilation cache"
    )


# Tracing makes millions of objects that live on: collecting less often is 6 % of a test run.
gc.set_threshold(50_000, 20, 100)

# Every compiled program is several memory maps, of which Linux allows a process 65 530. Beyond, the
# next compilation ends in a segmentation fault.
MAPS = Path("/proc/self/maps")
MANY = 25_000


@pytest.fixture(autouse=True, scope="module")
def few_memory_maps():
    """Programs of earlier modules are dropped once there are many."""
    yield
    if MAPS.exists() and len(MAPS.read_bytes().splitlines()) > MANY:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def getkey(request: pytest.FixtureRequest) -> Callable[[], Key]:
    """A new key at every call; the same keys in every run of the test."""
    root = jr.key(zlib.crc32(request.node.nodeid.encode()))
    count = itertools.count()
    return lambda: jr.fold_in(root, next(count))
