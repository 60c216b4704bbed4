"""certify: what it refuses, what it does not depend on, and what stands on a certificate."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from reference.descents import solve

import steppe
from steppe.certificates import certificate
from steppe.certificates.audit import recheck, verify
from steppe.certificates.certify import certify
from steppe.certificates.claims import (
    Holds,
    Iterations,
    MeanIterations,
    Quantile,
    Success,
    hitting_times,
)
from steppe.certificates.episodes import Episodes
from steppe.certificates.runs import STREAM, Calls, FixedPoint, Metric
from steppe.core.episode import begin
from steppe.optimizers.classic.proximal import FISTA

WAY = {"steps": 60, "tolerances": [1e-3], "levels": [0.9], "n": 60, "delta": 0.1}


@pytest.fixture(scope="module")
def bowl():
    """½ a z² with a ~ U(1, 9), by its gradient steps."""
    sample = lambda key: jr.uniform(key, (), minval=1.0, maxval=9.0)
    return FixedPoint(sample, lambda a: jnp.ones(()), lambda z, a: z - 0.1 * a * z, name="GD")


@pytest.fixture(scope="module")
def made(bowl):
    return certify(bowl, **WAY)


# What it says.


def test_a_solver_of_ones_own_in_ten_lines():
    cert = certify(solve, **WAY)
    success, iterations = cert.claims
    assert success["type"] == "success" and success["k"] == 60
    assert iterations["type"] == "iterations" and iterations["bound"] in range(1, 61)
    assert cert.statement.startswith("With confidence 90 %: at least ")
    assert f"within {iterations['bound']:.0f} iterations" in cert.statement
    assert cert.joint_delta == 0.1 and success["delta"] == iterations["delta"] == 0.05
    assert any("drawn independently" in line for line in cert.assumptions)


def test_first_hit_and_stay_differ_where_errors_rise_again():
    errors = np.array([[3, 0.5, 2, 0.5, 0.4], [3, 2, 2, 2, 2], [0.1, 0.1, 0.1, 0.1, 0.1]], float)
    assert np.array_equal(hitting_times(errors, 1.0, "first_hit"), [1, np.inf, 0])
    assert np.array_equal(hitting_times(errors, 1.0, "stay"), [3, np.inf, 0])
    assert np.array_equal(hitting_times(errors * np.nan, 1.0, "stay"), [np.inf] * 3)


def test_errors_that_are_no_numbers_count_as_failures():
    def diverges(rng):
        x = rng.uniform()
        return [x, np.nan, -np.inf if x < 0.5 else np.inf]

    cert = certify(
        Calls(diverges, Metric("gain", "a logarithm", signed=True)),
        steps=2,
        claims=[Success(0.5, 1), Success(0.5, 2), Quantile(0.5, 2)],
        n=30,
        delta=0.1,
    )
    assert [claim["evidence"].get("failures") for claim in cert.claims] == [30, 30, None]
    assert [claim["bound"] for claim in cert.claims] == [1.0, 1.0, None]
    assert cert.diverged == 30 and "30 of 30 runs diverged" in cert.warnings[0]
    assert "nothing" in cert.claims[2]["statement"]
    assert verify(cert) == []


def test_properties_and_means(bowl):
    claims = [
        Holds("the error never rises", lambda e: bool(np.all(np.diff(e) <= 0))),
        MeanIterations(1e-3),
    ]
    cert = certify(bowl, steps=60, claims=claims, n=60, delta=0.1)
    holds, mean = cert.claims
    assert holds["evidence"] == {"failures": 0}
    seen = sum(x * count for x, count in mean["evidence"]["values"]) / 60
    assert seen < mean["bound"] * 60 < seen + 20
    assert mean["method"] == "kl"
    assert verify(cert) == []
    assert recheck(cert, bowl, {holds["name"]: claims[0].holds}) == []
    with pytest.raises(ValueError, match="give that property"):
        recheck(cert, bowl)


def test_warns_of_what_a_reader_should_know():
    def wobbles(rng):
        x = rng.uniform(0.1, 0.9)
        return [1.0, x / 10, 0.5, x / 1000, x if x > 0.6 else x / 1000]

    found = " ".join(
        certify(wobbles, steps=4, tolerances=[0.05, 5e-4], levels=[0.5], n=50).warnings
    )
    assert "rose above a tolerance again" in found
    assert "did not come to 0.0005" in found


# What it does not depend on.


@pytest.mark.parametrize("batch", [1, 7, 33, 1000])
def test_the_same_to_the_last_bit_however_runs_are_grouped(bowl, made, batch):
    assert certify(bowl, **WAY, batch=batch).claims == made.claims


def test_more_tasks_begin_with_the_same(bowl):
    few, many = bowl.run(3, range(40), 10), bowl.run(3, range(100), 10)
    assert np.array_equal(few.errors, many.errors[:40]) and few.prints == many.prints[:40]
    assert not np.array_equal(few.errors, bowl.run(4, range(40), 10).errors)


def test_the_order_of_claims_and_of_tasks(bowl, monkeypatch):
    claims = [Success(1e-3, 60), Iterations(0.9, 1e-3), Quantile(0.5, 30)]
    one = certify(bowl, steps=60, claims=claims, n=60)
    other = certify(bowl, steps=60, claims=claims[::-1], n=60)
    assert one.claims == other.claims[::-1]

    class Turned(Calls):
        def run(self, seed, which, steps):
            runs = bowl.run(seed, which, steps)
            return runs._replace(errors=runs.errors[::-1], prints=runs.prints[::-1])

    turned = certify(Turned(solve, bowl.metric), steps=60, claims=claims, n=60, batch=60)
    assert [c["bound"] for c in turned.claims] == [c["bound"] for c in one.claims]


# Optimizers.


def test_an_optimizer_on_a_task_as_unroll_runs_it(getkey):
    task, opt = steppe.Quadratic(n=3), steppe.FromOptax("sgd", learning_rate=0.05)
    errors = Episodes(task, opt, metric="relative_gap").run(5, range(3), 8).errors
    for i in range(3):  # step by step, by hand
        key = jr.split(jr.fold_in(jr.fold_in(jr.key(5), STREAM), i), 3)[0]
        episode = begin(task, opt, key)
        instance, x = episode.instance, episode.params
        for k in range(9):
            gap = task.metrics(x, instance, (), key)["relative_gap"]
            assert errors[i, k] == pytest.approx(float(gap), rel=1e-9)
            x = x - 0.05 * jax.grad(task.loss(instance, (), key))(x)
    found = {
        metric: Episodes(task, opt, metric=metric).run(5, range(2), 4).errors
        for metric in ("loss", "residual", "gradient", "distance", "nmse")
    }
    assert all(np.all(np.isfinite(errors)) for errors in found.values())
    loss, residual, gradient = found["loss"], found["residual"], found["gradient"]
    assert np.allclose(residual, 0.05 * gradient, rtol=1e-9)
    assert np.all(np.diff(loss, axis=1) < 0)


def test_optax_transformations_and_metrics_of_ones_own():
    task = steppe.Quadratic(n=3)
    size = lambda params, instance: jnp.max(jnp.abs(params))
    run = Episodes(task, optax.sgd(0.05), metric=size)
    ours = Episodes(task, steppe.FromOptax("sgd", learning_rate=0.05), metric=size)
    assert np.allclose(run.run(0, range(4), 5).errors, ours.run(0, range(4), 5).errors)
    cert = certify(optax.sgd(0.05), task, steps=5, tolerances=[10.0], n=20)
    assert cert.metric["name"] == "loss"


def test_classification_error_on_validation_data():
    task = steppe.tasks.build("digits-relu", hidden=(4,), start="he")
    run = Episodes(task, steppe.FromOptax("adam", learning_rate=0.05), metric="error")
    errors = run.run(0, range(2), 30).errors
    assert np.all((errors >= 0) & (errors <= 1))
    assert errors[:, -1].mean() < errors[:, 0].mean() - 0.2
    assert "valid" in run.metric.definition


# What it refuses.


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"delta": 0.0}, "delta"),
        ({"delta": 1.0}, "delta"),
        ({"n": 0}, "n must be a whole number"),
        ({"steps": 0}, "steps must be"),
        ({"tolerances": [float("nan")]}, "positive number, got nan"),
        ({"tolerances": [-1.0]}, "positive number, got -1"),
        ({"tolerances": [1e-3, 1e-3]}, "Two claims are the same"),
        ({"tolerances": [], "levels": []}, "nothing to certify"),
        ({"levels": [1.0]}, "in \\(0, 1\\), got 1"),
        ({"levels": [0.99]}, "take n of at least 299"),
        ({"at": [61]}, "raise steps"),
        ({"semantics": "sometimes"}, "first_hit, stay"),
        ({"method": "guess"}, "clopper_pearson, kl"),
        ({"simultaneous": "joint"}, "grid, pointwise, uniform"),
        ({"simultaneous": "pointwise", "delta": 0.6}, "must be below 1"),
        ({"candidates": 0}, "candidates must be"),
        ({"stage": 0}, "stage must be"),
    ],
)
def test_impossible_wishes_are_refused_before_anything_runs(how, sentence):
    never = lambda rng: pytest.fail("it ran")
    with pytest.raises(ValueError, match=sentence):
        certify(never, **WAY | how)


@pytest.mark.parametrize(
    ("solve", "sentence"),
    [
        (lambda rng: [rng.uniform()] * 3, "must return 61 numbers"),
        (lambda rng: np.ones((61, 2)) * rng.uniform(), "must return 61 numbers"),
        (lambda rng: np.ones(61) * 1j * rng.uniform(), "real numbers"),
        (lambda rng: -np.ones(61) * rng.uniform(), "negative"),
        (lambda rng: np.ones(61), "drew nothing from its random generator"),
    ],
)
def test_functions_that_are_no_runs_are_refused(solve, sentence):
    with pytest.raises(ValueError, match=sentence):
        certify(solve, **WAY)


def test_metrics_that_are_no_number_are_refused():
    task = steppe.Quadratic(n=3)
    for metric in (lambda x, _: x, lambda x, _: jnp.sum(x) > 0, lambda x, _: jnp.sum(x) * 1j):
        with pytest.raises(ValueError, match="one real number a step"):
            certify(optax.sgd(0.1), task, metric=metric, steps=3, tolerances=[0.1], n=20)


def test_an_optimizer_on_one_task_again_and_again_is_refused():
    class Same(steppe.AbstractFormula):
        sample = lambda self, key: ()
        init = lambda self, instance, key: jnp.ones(2)
        loss = lambda self, instance, batch, key: lambda params: jnp.sum(params**2)
        target = lambda self, instance: None
        metrics = lambda self, params, instance, batch, key: {}

    with pytest.raises(ValueError, match="tasks are equal to another"):
        certify(optax.sgd(0.1), Same(), steps=3, tolerances=[0.1], n=20)


def test_what_is_no_run_is_refused():
    with pytest.raises(ValueError, match="give it as second argument"):
        certify(steppe.FromOptax("sgd", learning_rate=0.1), **WAY)
    with pytest.raises(ValueError, match="leave them away"):
        certify(solve, steppe.Quadratic(), **WAY)
    with pytest.raises(ValueError, match="takes an optimizer, a function"):
        certify(3, **WAY)
    with pytest.raises(ValueError, match="no metric 'losss'; did you mean 'loss'"):
        Episodes(steppe.Quadratic(), optax.sgd(0.1), metric="losss")
    with pytest.raises(ValueError, match="together"):
        FixedPoint(jnp.ones(3), lambda a: a, lambda z, a: z, error=lambda z, a: z)
    with pytest.raises(ValueError, match="one cluster"):
        FixedPoint(jnp.ones(3), lambda a: a, lambda z, a: z, clusters=[1, 2])


def test_candidates_and_stages_cost():
    plain = certify(solve, **WAY).claims[0]["delta"]
    assert certify(solve, **WAY, candidates=5).claims[0]["delta"] == pytest.approx(plain / 5)
    second = certify(solve, **WAY, stage=2)
    assert second.n == 120
    assert second.claims[0]["delta"] == pytest.approx(plain * 6 / np.pi**2 / 4)


# On disk.


def test_written_and_read_again(made, tmp_path):
    path = made.save(tmp_path / "c.json")
    assert certificate.load(path) == made
    assert certificate.load(path).digest == json.loads(path.read_text())["digest"]
    assert verify(certificate.load(path)) == []


def test_what_was_tampered_with_is_refused(made, tmp_path):
    path = made.save(tmp_path / "c.json")
    document = json.loads(path.read_text())
    document["claims"][1]["bound"] -= 1
    path.write_text(json.dumps(document))
    with pytest.raises(certificate.CertificateError, match="was changed after it was written"):
        certificate.load(path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "found no JSON"),
        ("{}", "is no certificate"),
        ("[1]", "is no certificate"),
        ('{"claims": [], "digest": "", "schema": 9}', "found schema 9, expected schema 1"),
        ('{"claims": [], "digest": "", "schema": 1}', "found no entry 'assumptions'"),
    ],
)
def test_files_that_are_no_certificate(tmp_path, text, sentence):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(certificate.CertificateError, match=sentence):
        certificate.load(tmp_path / "c.json")
    with pytest.raises(certificate.CertificateError, match="found no file"):
        certificate.load(tmp_path / "other.json")


# A forger who knows the digest is caught by the numbers.


def forged(cert, i, **changed):
    claims = [dict(claim) for claim in cert.claims]
    claims[i] |= changed
    return dataclasses.replace(cert, claims=claims)


def test_bounds_that_the_counts_do_not_bear_out(made):
    assert verify(made) == []
    success, iterations = made.claims
    assert "do not bear out" in verify(forged(made, 0, bound=success["bound"] * 0.9))[0]
    assert "not of" in verify(forged(made, 1, bound=iterations["bound"] - 1))[0]
    assert "impossible" in verify(forged(made, 0, evidence={"failures": 99}))[0]
    assert "spend delta" in verify(dataclasses.replace(made, joint_delta=0.01))[0]
    assert "its numbers say" in verify(forged(made, 0, statement="always"))[0]
    assert "does not hold together" in verify(forged(made, 0, evidence={}))[0]
    for method in ("kl", "kl2", "hoeffding"):
        assert verify(forged(made, 0, method=method, bound=1e-4))


@pytest.mark.parametrize("method", ["clopper_pearson", "kl", "kl2", "hoeffding"])
def test_honest_bounds_of_every_kind_verify(bowl, method):
    claims = [Success(1e-3, k) for k in (0, 20, 60)] + [MeanIterations(1e-3)]
    for simultaneous in ("grid", "pointwise", "uniform"):
        cert = certify(
            bowl, steps=60, claims=claims, n=60, method=method, simultaneous=simultaneous
        )
        assert verify(cert) == []


def test_running_it_again(made, bowl):
    assert recheck(made, bowl) == []
    faster = FixedPoint(
        bowl.sample, lambda a: jnp.ones(()), lambda z, a: z - 0.11 * a * z, name="GD"
    )
    assert "came out otherwise" in recheck(made, faster)[0]
    assert "is not that of the certificate" in recheck(made, Calls(solve))[0]


def test_keys_of_certificates_are_their_own(bowl):
    keys = bowl.program._drawn(0, range(3))
    assert not np.any(jax.vmap(lambda k: jr.key_data(k) == jr.key_data(jr.key(0)))(keys).all(1))


def test_decibels_of_a_task_without_a_solution_may_be_negative():
    task = steppe.tasks.build("sparse-recovery", rows=8, n=10, density=0.2)
    cert = certify(FISTA(), task, steps=3, metric="nmse", tolerances=[-0.5], n=20)
    assert cert.metric["signed"] and cert.metric["unit"] == "dB"
    assert cert.counts["failures"][0][0] > 0 and "nmse ≤ -0.5" in cert.statement
