"""What a backend decides is decided in one file, and a user's own compiler options stand."""

from pathlib import Path

import jax
import jax.random as jr
import pytest

import steppe
from steppe.core import backend, rollout
from steppe.optimizers.classic.from_optax import sgd
from steppe.optimizers.learned.rnnprop import RNNProp
from steppe.optimizers.unrolled.step_lista import StepLISTA
from steppe.tasks.inverse.recovery import SparseRecovery


def test_no_other_file_asks_for_the_backend():
    root = Path(steppe.__file__).parent
    asking = {
        p.relative_to(root).as_posix()
        for p in root.rglob("*.py")
        if "default_backend" in p.read_text()
    }
    assert asking == {"core/backend.py", "runs/diagnostics.py"}  # the latter prints it


def test_an_accelerator_takes_all_at_once(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert backend.replay_block(10**6) == 10**6
    assert backend.lanes_together(10**6) == backend.lanes_evaluated() == backend.ALL
    assert backend.quick_compilation() == {}


@pytest.mark.parametrize("n", [0, 1, 2048, 10**9])
def test_a_processor_always_takes_at_least_one(n):
    assert backend.lanes_together(n) >= 1 and backend.replay_block(n) >= 1


def test_networks_multiply_all_episodes_by_their_matrix_at_once(monkeypatch):
    """Other rules go in groups whose numbers, state included, fit the cache of a processor."""
    task = SparseRecovery(rows=2, n=3000)
    chosen = lambda f, shared, xs, *, batch_size: batch_size
    monkeypatch.setattr(rollout, "map_lanes", chosen)
    run = lambda opt: rollout.episodes(task, opt, jr.split(jr.key(0), 8), 1, lambda e, _: ())
    assert run(StepLISTA(layers=1)) == backend.ALL
    assert rollout.lanes_of(task, StepLISTA(layers=1), shared=False) == 2**16 // 6000  # x and state
    assert run(sgd(0.1)) == 2**16 // 3000
    assert run(RNNProp((20,), key=jr.key(0))) == 1  # with 42 numbers of state a coordinate
    assert run(lambda lr: sgd(lr)) == 2**16 // 3000


def test_a_level_in_xla_flags_is_left_as_it_is(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    assert backend.quick_compilation() == {"xla_backend_optimization_level": 1}
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")
    assert backend.quick_compilation() == {}
