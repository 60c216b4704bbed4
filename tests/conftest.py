"""What all tests share: float64, no silent broadcasting, fresh keys, compiled programs on disk."""

import gc
import itertools
import os
import signal
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

# Compiling is most of a test run, so optimise less: without XLA's fusion emitters and LLVM's passes
# a meta-step takes less than half as long. Below level 3 XLA for CPU returns wrong gradients of
# convolution → batch norm → ReLU → jnp.max, hence `max_pool` in tasks/networks.
# A program in one part compiles in less time than in several, which pays for few cores.
FLAGS = (
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false "
    "--xla_cpu_parallel_codegen_split_count=1"
)
# Users compile without these flags, and so do the tests that test_user_flags.py runs again.
USER_FLAGS = "STEPPE_TEST_USER_FLAGS" in os.environ
if not USER_FLAGS:
    os.environ["XLA_FLAGS"] = f"{FLAGS} {os.environ.get('XLA_FLAGS', '')}"

# Programs that took long to compile are kept for the next run, for the other workers and for the
# processes that tests start, which often run the same. To write a program costs as much as to
# compile a tiny one, and few programs of a worker are ever read again.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".cache/jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

# Some hundred processes that tests start would each parse the whole library again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# One worker on every core: threads of PyTorch and OpenBLAS would wait for each other, spinning.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import jax  # noqa: E402
import jax.random as jr  # noqa: E402
from jax._src.interpreters import mlir  # noqa: E402

from steppe.core.types import Key  # noqa: E402
from tests import eager, threefry  # noqa: E402

if not USER_FLAGS:
    threefry.install(Path(__file__).parents[1] / ".cache")
    eager.install()
    jax.config.update("jax_num_cpu_devices", 2)  # so that spreading episodes is tested
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_include_full_tracebacks_in_locations", False)  # 3 % of a test run


def pytest_configure(config: pytest.Config) -> None:
    # JAX writes entries in place: another test run may see half of one. Then it compiles.
    config.addinivalue_line(
        "filterwarnings", "ignore:Error (reading|writing) persistent compilation cache"
    )


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes name no test: a file may hold the time, and workers would collect other names."""
    return argname if isinstance(val, bytes) else None


def pytest_collection_finish(session: pytest.Session) -> None:
    """What is imported stays: the garbage collector need not look at it again and again."""
    gc.collect()
    gc.freeze()


def shared_contexts(make: Callable, programs: int = 100) -> Callable:
    """`make`, but the same context for many programs; threads have their own.

    JAX lowers each program in a context of MLIR made for it alone. For small programs, which are
    most in a test run, that takes as long as all other lowering, and half of the memory. A context
    keeps the constants of its programs, so a new one is made now and then.
    """
    own = threading.local()

    def shared():
        count = getattr(own, "count", 0)
        if count % programs == 0:
            own.context = make()
        own.count = count + 1
        return own.context

    return shared


mlir.make_ir_context = shared_contexts(mlir.make_ir_context)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item):
    """As users have it, JAX computes in float32 but for tests that ask for float64."""
    if USER_FLAGS:
        mark = item.get_closest_marker("user_flags")
        jax.config.update("jax_enable_x64", mark is not None and mark.kwargs.get("x64", False))
    return (yield)


# Tracing makes millions of objects that live on: collecting less often is 8 % of a test run.
gc.set_threshold(200_000, 20, 100)


def pytest_unconfigure() -> None:
    """Collect once: then pytest would five times more, for what the end of the process frees."""
    gc.collect()
    gc.freeze()


# Every compiled program is several memory maps, of which Linux allows a process 65 530. Beyond, the
# next compilation ends in a segmentation fault. To count them takes long where there are many.
MAPS = Path("/proc/self/maps")
MANY, OFTEN = 40_000, 500
compiled: list[str] = []  # since they were counted


def note(event: str, *_, **__) -> None:
    if event.endswith("backend_compile_duration"):
        compiled.append(event)


jax.monitoring.register_event_duration_secs_listener(note)


@pytest.fixture(autouse=True, scope="module")
def few_memory_maps():
    """Programs of earlier modules are dropped once there are many."""
    yield
    if len(compiled) < OFTEN:
        return
    compiled.clear()
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > MANY:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="module")
def compiled_once():
    """Runs of the same shapes share their compiled programs."""
    from robustness.crash import shared_programs

    with pytest.MonkeyPatch.context() as patch:
        shared_programs(patch.setattr)
        yield


@pytest.fixture
def getkey(request: pytest.FixtureRequest) -> Callable[[], Key]:
    """A new key at every call; the same keys in every run of the test."""
    root = jr.key(zlib.crc32(request.node.nodeid.encode()))
    count = itertools.count()
    return lambda: jr.fold_in(root, next(count))


@pytest.fixture
def heard():
    """SIGINT as Python handles it, though a shell may have started the tests with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
