"""The search for a solver: what is tried, what is taken, what is said, what is refused."""

import dataclasses

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import steppe
from steppe.certificates.audit import verify
from steppe.core.loss import Composite
from steppe.core.task import AbstractTask
from steppe.optimizers.classic.proximal import FISTA, ISTA
from steppe.solvers import training
from steppe.solvers.candidates import CANDIDATES, Candidate
from steppe.solvers.learn import learn_solver
from steppe.solvers.record import Row, chosen, first_within, judged, merit
from steppe.solvers.solver import load
from steppe.store.manifest import CheckpointError
from steppe.tasks.inverse.recovery import SparseRecovery
from steppe.tasks.synthetic.quadratic import Quadratic

TASK = SparseRecovery(rows=6, n=8, density=0.9, seed=0)
HOW = {"budget": None, "tries": 2, "problems": 4, "steps": 30, "n": 130, "seed": 3}
BY_HAND = CANDIDATES[:2]


def broken(family, opt, key):
    raise ValueError("the weights cannot be made")


# Learned, and cheap to compile: the step of ISTA is θ.
STEP = Candidate("trained step", "ISTA", lambda family, key: ISTA(0.05), training.windows)
BROKEN = Candidate("broken", "fails", lambda family, key: ISTA(), broken)
ABSENT = dataclasses.replace(STEP, name="absent", lacks=lambda family: "it needs an A of rank 1")


@pytest.fixture(scope="module")
def solver():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "EPISODES", 2)
        patch.setattr(training, "LENGTH", 5)
        patch.setattr(training, "HORIZON", 5)
        tried = (*BY_HAND, STEP, BROKEN, ABSENT)
        yield learn_solver(TASK, candidates=tried, name="sparse-recovery", **HOW)


def test_all_that_was_tried_is_told(solver):
    rows = {row.name: row for row in solver.candidates}
    assert list(rows) == ["ISTA", "FISTA + restart", "trained step", "broken", "absent"]
    assert "the weights cannot be made" in rows["broken"].fault
    assert rows["absent"].fault == "it needs an A of rank 1"
    assert rows["trained step"].meta_steps == 2 and rows["trained step"].learned  # alone: one round
    for row in list(rows.values())[:3]:
        assert len(row.median) == len(row.at) == len(row.low) and row.at[-1] == 30
        assert not row.fault and row.alone == () and row.step_batch is None  # nothing was timed


def test_the_classical_solver_is_taken_where_it_is_better(solver):
    assert solver.record.winner == "FISTA + restart" and isinstance(solver.opt, FISTA)
    assert solver.verdict.startswith("Take FISTA + restart: ")
    assert "the best learned solver, trained step, " in solver.verdict


def test_the_certificate_is_of_the_winner_on_fresh_problems(solver):
    cert = solver.certificate
    assert verify(cert) == [] and cert.n == 130 and cert.metric["name"] == "gap"
    assert cert.optimizer["name"] == "FISTA + restart"
    assert cert.tasks["name"] == "sparse-recovery"


def test_one_file_has_it_all(solver, tmp_path):
    path = tmp_path / "solver.safetensors"
    solver.save(path)
    again = load(path)
    assert again.record == solver.record and again.verdict == solver.verdict
    assert again.certificate.digest == solver.certificate.digest
    assert again.recipe["task"] == "sparse-recovery"
    assert isinstance(steppe.load(path), FISTA)  # an ordinary checkpoint
    steppe.save(tmp_path / "other.safetensors", ISTA())
    with pytest.raises(CheckpointError, match="no record of a search"):
        load(tmp_path / "other.safetensors")


def test_equal_seeds_find_equal_solvers(solver):
    again = learn_solver(TASK, candidates=BY_HAND, name="sparse-recovery", **HOW)
    for mine, theirs in zip(again.candidates, solver.candidates, strict=False):
        assert mine == theirs
    assert again.certificate.claims == solver.certificate.claims


def row(name, kind, iterations, reached=1.0, final=0.0):
    last = (iterations,) if reached == 1 else (None,)
    return Row(
        name=name, about="", kind=kind, reached=(reached,), iterations=last, most=last, final=final
    )


def test_a_learned_solver_has_to_be_clearly_better():
    by_hand = row("FISTA", "by hand", 100.0)
    assert chosen([by_hand, row("net", "learned", 97.0)], "iterations") is by_hand
    assert chosen([by_hand, net := row("net", "learned", 90.0)], "iterations") is net
    assert chosen([by_hand, row("net", "learned", 10.0, 0.99)], "iterations") is by_hand
    worse = row("FISTA", "by hand", 1.0, 0.5, final=0.3)
    assert chosen([worse, net := row("net", "learned", 1.0, 0.5, 0.1)], "iterations") is net
    assert chosen([worse, row("net", "learned", 1.0, 0.5, 0.3)], "iterations") is worse


def test_errors_become_a_row():
    errors = np.array([[1.0, 0.1, 0.01, 0.2], [1.0, np.nan, 0.5, 0.05]])
    assert first_within(errors, 0.1).tolist() == [1, 3]
    found = judged(errors, (0.5, 0.1, 0.02), row("x", "learned", 0.0))
    assert found.reached == (1, 1, 0.5)
    assert found.iterations == (1.5, 2, None) and found.most == (2, 3, None)
    assert found.at == (0, 1, 2, 3) and found.final == pytest.approx(0.125)
    assert merit(found, "iterations")[0] == 0.5


class Matrices(AbstractTask):
    """LASSO whose constant L is as given."""

    lipschitz: float

    def sample(self, key):
        return jr.normal(key, (3, 2))

    def init(self, instance, key):
        return jnp.zeros(2)

    def batch(self, instance, key, *, split="train"):
        return ()

    def full_batch(self, instance, *, split):
        return ()

    def loss(self, instance, batch, key):
        from steppe.core.loss import LeastSquares
        from steppe.core.regularizer import L1

        smooth = LeastSquares(instance, jnp.ones(3))
        return Composite(smooth, L1(0.1), jnp.asarray(self.lipschitz))

    def metrics(self, params, instance, batch, key):
        return {}

    def target(self, instance):
        return None


WRONG = {
    "a budget of nothing": (TASK, {"budget": 0.0, "tries": None}, "budget must be positive"),
    "no number": (TASK, {"budget": float("nan"), "tries": None}, "budget must be a finite number"),
    "neither": (TASK, {"tries": None}, "a budget in seconds or a number of tries"),
    "both": (TASK, {"budget": 1.0}, "a budget in seconds or a number of tries"),
    "no tries": (TASK, {"tries": 0}, "tries must be at least 1"),
    "goal": (TASK, {"goal": "speed"}, "goal must be 'objective' or 'recovery', got 'speed'"),
    "order": (TASK, {"tolerances": (1e-6, 1e-3)}, "from easy to hard"),
    "sign": (TASK, {"tolerances": (1e-3, 0.0)}, "must be positive"),
    "one tolerance": (TASK, {"tolerances": 3}, "tolerances must be a list, got 3"),
    "one level": (TASK, {"levels": 3}, "levels must be a list, got 3"),
    "one candidate": (TASK, {"candidates": 3}, "candidates must be a list"),
    "by": (TASK, {"by": "luck"}, "by must be batch, alone or iterations"),
    "n": (TASK, {"n": 10}, "take n of at least"),
    "delta": (TASK, {"delta": 2.0}, "delta"),
    "problems": (TASK, {"problems": 0}, "problems must be at least 1"),
    "seed": (TASK, {"seed": -1}, "seed must be a whole number"),
    "all learned": (TASK, {"candidates": (STEP,)}, "one made by hand to fall back on"),
    "no candidate": (TASK, {"candidates": ("ista",)}, "must be of `Candidate`, got 'ista'"),
    "L": (Matrices(float("inf")), {}, "constant L of a problem of Matrices is inf"),
    "L of 0": (Matrices(0.0), {}, "constant L of a problem of Matrices is 0.0"),
    "truth": (Matrices(9.0), {"goal": "recovery"}, "do not tell the vector"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_refused_in_one_sentence(name):
    task, changed, said = WRONG[name]
    with pytest.raises(ValueError, match=said) as caught:
        learn_solver(task, **{**HOW, "candidates": BY_HAND, **changed})
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


@pytest.mark.parametrize("task", [Quadratic(n=2), "lasso"])
def test_a_task_without_the_structure_is_refused(task):
    with pytest.raises(
        TypeError, match=r"needs a loss of the form Composite|family must be a task"
    ):
        learn_solver(task, **HOW)


def test_recovery_is_certified_in_decibels():
    found = learn_solver(TASK, goal="recovery", candidates=BY_HAND[1:], **HOW)
    assert found.record.error == "nmse" and found.record.tolerances == (-10, -20, -40)
    cert = found.certificate
    assert cert.metric["unit"] == "dB" and {c["type"] for c in cert.claims} >= {"quantile"}
    assert found.verdict.startswith("Take FISTA + restart: ") and "−40 dB" in found.verdict
