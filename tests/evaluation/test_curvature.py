"""What `curvature` measures against a dense Hessian at the end of a plain loop; page and words."""

import dataclasses
import json

import jax
import jax.flatten_util
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from report.test_page import NASTY, Balanced

from examples import pictures
from steppe.core.episode import begin, unroll
from steppe.core.task import AbstractFormula, Problem
from steppe.evaluation import curvature_record as point
from steppe.evaluation.curvature import Diverged, Settings, curvature, examples
from steppe.evaluation.run import seed_keys
from steppe.optimizers.classic.from_optax import sgd
from steppe.report.page import report_from_folders, write_report
from steppe.tasks import MLP, Classify, Quadratic

TASK = Classify(pictures((2, 2)), MLP(hidden=(4,), start="lecun"), batch_size=8)  # 35 parameters
KEY = jr.key(3)
SETTINGS = Settings(steps=5, batch=50, k=6, probes=60, gamma=2.0, rho=0.1, points=3)


@pytest.fixture(scope="module")
def found() -> point.CurvatureRecord:
    return curvature(TASK, sgd(0.5), name="SGD", task_name="t", settings=SETTINGS, key=KEY)


@pytest.fixture(scope="module")
def dense():
    """The end of the loop, loss and gradient there, and the Hessian and Gauss–Newton matrix."""
    key_begin, key_loss = jr.split(seed_keys(KEY, [0], "evaluate")[0])
    episode = begin(TASK, sgd(0.5), key_begin)
    last, _ = unroll(TASK, sgd(0.5), episode, 5, lambda step: ())
    x, y = TASK.full_batch((), split="train")
    loss = Problem(TASK, (), (x[:50], y[:50]), key_loss).loss()
    flat, unravel = jax.flatten_util.ravel_pytree(last.params)

    @jax.jit
    def at(flat):
        f = lambda v: loss(unravel(v))
        J = jax.jacobian(lambda v: loss.inner(unravel(v)))(flat).reshape(-1, len(flat))
        z = loss.inner(unravel(flat))
        H_out = jax.hessian(loss.outer)(z).reshape(z.size, z.size)
        return f(flat), jax.grad(f)(flat), jax.hessian(f)(flat), J.T @ H_out @ J

    f, g, H, G = map(np.asarray, at(flat))
    return {"theta": np.asarray(flat), "f": f, "g": g, "H": H, "G": G, "start": episode.params}


def row(found: point.CurvatureRecord, name: str) -> point.Row:
    [one] = [r for r in found.rows if r.name == name]
    return one


def test_it_measures_at_the_end_of_the_first_evaluation(found, dense):
    assert row(found, "train_loss").value == pytest.approx(dense["f"], rel=1e-5)
    assert row(found, "size").value == pytest.approx(dense["theta"] @ dense["theta"], rel=1e-5)
    assert row(found, "gradient_norm").value == pytest.approx(dense["g"] @ dense["g"], rel=1e-5)
    assert (found.params, found.examples, found.dtype) == (35, 50, "float64")
    assert found.temperature == pytest.approx(1 / 1000)  # of all training examples


def test_eigenvalues_are_those_of_the_dense_hessian(found, dense):
    values = np.linalg.eigvalsh(dense["H"])
    assert row(found, "top_eigenvalue").value == pytest.approx(values[-1], rel=1e-5)
    largest = values[np.argmax(np.abs(values))]
    assert row(found, "top_modulus").value == pytest.approx(largest, rel=1e-5)
    assert row(found, "top_eigenvalue").error < 1e-8


@pytest.mark.parametrize("name", ["trace", "frobenius", "gauss_newton", "log_det"])
def test_stochastic_numbers_agree_within_their_errors(name, found, dense):
    H = dense["H"]
    truth = {
        "trace": np.trace(H),
        "frobenius": np.sum(H**2),
        "gauss_newton": np.trace(dense["G"]),
        "log_det": 0.5 * np.linalg.slogdet(np.eye(35) + H / SETTINGS.gamma)[1],
    }[name]
    seen = row(found, name)
    assert 0 < seen.error < 0.3 * abs(truth)
    assert abs(seen.value - truth) < 4 * seen.error


def test_both_entropies_agree_with_the_dense_laplace_form(found, dense):
    """γ = 2 and τ = 1/1000 make a window so narrow that the loss is a parabola in it."""
    H, g, gamma, tau = dense["H"], dense["g"], SETTINGS.gamma, found.temperature
    P = H + gamma * np.eye(35)
    log_det = np.linalg.slogdet(P / gamma)[1]
    truth = dense["f"] - g @ np.linalg.solve(P, g) / 2 + tau / 2 * log_det
    for name in ("entropy", "entropy_laplace"):
        seen = row(found, name)
        assert seen.error < 0.2 * abs(dense["f"] - truth)
        assert abs(seen.value - truth) < 4 * seen.error


def test_sharpness_is_the_rise_along_the_gradient(found, dense):
    g = dense["g"]
    step = SETTINGS.rho * g / np.linalg.norm(g)
    second_order = g @ step + step @ dense["H"] @ step / 2
    assert row(found, "sharpness").value == pytest.approx(second_order, rel=0.05)


def test_the_relative_column_makes_up_for_the_size_of_the_weights(found):
    size = row(found, "size").value
    for name, power in (
        ("trace", 1),
        ("top_eigenvalue", 1),
        ("gradient_norm", 1),
        ("frobenius", 2),
    ):
        one = row(found, name)
        assert one.relative == pytest.approx(one.value * size**power, rel=1e-4)
    assert row(found, "log_det").relative is None


def test_the_density_integrates_to_one(found):
    mass = np.trapezoid(found.density.values, found.density.grid)
    assert mass == pytest.approx(1, abs=0.01)


def test_slices_pass_through_the_point_and_the_parabola_touches_them(found, dense):
    assert len(found.slices) == 2
    for line in found.slices:
        assert line.train[SETTINGS.points] == pytest.approx(dense["f"], rel=1e-5)
        assert line.offsets[SETTINGS.points] == 0
    along = found.slices[1]
    assert along.curvature == pytest.approx(row(found, "top_modulus").value, rel=1e-4)
    reach = abs(along.curvature) * along.offsets[-1] ** 2 / 2
    assert reach == pytest.approx(max(found.start_loss - dense["f"], dense["f"] / 10), rel=1e-3)


def test_the_landscape_has_the_point_in_its_middle(found, dense):
    assert np.shape(found.plane.values) == (3, 3)
    assert found.plane.values[1][1] == pytest.approx(dense["f"], rel=1e-5)
    # one random direction is that of the first slice
    assert found.plane.values[2][1] == pytest.approx(found.slices[0].train[-1], rel=1e-5)


def test_a_quadratic_has_the_same_curvature_wherever_it_ends():
    settings = Settings(steps=2, k=3, probes=2, points=2)
    seen = curvature(
        Quadratic(n=3), sgd(0.1), name="SGD", task_name="q", settings=settings, key=KEY
    )
    instance = begin(Quadratic(n=3), sgd(0.1), jr.split(seed_keys(KEY, [0], "evaluate")[0])[0])
    W = np.asarray(instance.instance.W[0])
    assert row(seen, "top_eigenvalue").value == pytest.approx(np.linalg.norm(W, 2) ** 2, rel=1e-5)
    assert (seen.examples, seen.temperature) == (0, 1.0)
    assert "gauss_newton" not in {r.name for r in seen.rows}  # its halves are not known


def test_a_diverged_training_has_no_point_to_measure_at():
    with pytest.raises(Diverged, match="SGD on q diverged within 900 steps"):
        curvature(
            Quadratic(n=3),
            sgd(9.0),
            name="SGD",
            task_name="q",
            settings=Settings(900, k=2),
            key=KEY,
        )


def test_more_lanczos_steps_than_parameters_are_refused_before_training():
    with pytest.raises(ValueError, match="curvature: k = 4 Lanczos steps"):
        curvature(
            Quadratic(n=3), sgd(9.0), name="SGD", task_name="q", settings=Settings(k=4), key=KEY
        )


class Wobbling(AbstractFormula):
    """A bowl that is another one at each look, behind the back of JAX."""

    def sample(self, key):
        return ()

    def init(self, instance, key):
        return jnp.ones((2, 2))

    def loss(self, instance, batch, key):
        return lambda params: np.random.rand() * jnp.sum(params**2)

    def target(self, instance):
        return None

    def metrics(self, params, instance, batch, key):
        return {}


def test_a_loss_that_draws_its_own_numbers_is_refused():
    with pytest.raises(ValueError, match="at the same point"):
        curvature(
            Wobbling(), sgd(0.1), name="SGD", task_name="t", settings=Settings(2, k=2), key=KEY
        )


def test_examples_are_counted():
    assert examples(TASK) == 1000
    assert examples(Quadratic(n=3)) == 1


def test_a_point_survives_json(found):
    assert point.from_plain(json.loads(json.dumps(dataclasses.asdict(found)))) == found
    with pytest.raises(ValueError, match="Not a record of curvature: found no entry 'task'"):
        point.from_plain({})


def test_the_table_has_every_number(found):
    lines = point.text_table(found).splitlines()
    assert "35 parameters, 50 examples" in lines[0]
    for line, r in zip(lines[3:], found.rows, strict=True):
        assert line.startswith(r.symbol)
        assert point.figure(r.value, 4) in line
    assert len({point.width(line[: line.index("40")]) for line in lines if "40 p" in line}) <= 1


def changed(found: point.CurvatureRecord, **values) -> point.CurvatureRecord:
    """Some rows with another (value, error)."""
    rows = [
        dataclasses.replace(r, value=values[r.name][0], error=values[r.name][1])
        if r.name in values
        else r
        for r in found.rows
    ]
    return dataclasses.replace(found, rows=rows)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"trace": (10.0, 1.0), "top_eigenvalue": (2.5, 0.0)}, "makes up 25 % of the trace"),
        ({"trace": (10.0, 1.0), "frobenius": (20.0, 1.0)}, "spread over about 5 directions"),
        ({"top_modulus": (-3.0, 0.0)}, "Negative curvature dominates: the eigenvalue of largest"),
        ({"top_modulus": (None, None)}, "The Hessian is not finite"),
        ({"entropy": (0.2, 5e-4)}, "The sampled −G̃ is not to be trusted"),
    ],
)
def test_words_follow_the_numbers(values, said, found):
    positive = {"top_modulus": (3.0, 0.0)}
    words = " ".join(point.sentences(changed(found, **positive | values)))
    assert said in words
    assert ("not to be trusted" in words) == ("entropy" in values)


def test_probes_below_minus_gamma_are_told(found):
    words = point.sentences(dataclasses.replace(found, below=7))
    assert any("7 of 60 probes met an eigenvalue ≤ −γ" in sentence for sentence in words)


def test_the_page_holds_numbers_and_pictures_and_loads_nothing(found, tmp_path):
    nasty = dataclasses.replace(found, optimizer=NASTY, task=NASTY)
    path = write_report(tmp_path / "r.html", title="t", records=[], curvatures=[found, nasty])
    page = path.read_text(encoding="utf-8")
    parsed = Balanced(page)
    assert parsed.open == [] and len(parsed.ids) == len(set(parsed.ids))
    assert "<script" not in page and "http" not in page
    assert page.count("<svg role") == 6
    for r in found.rows:
        assert f"<td>{point.figure(r.value, 4)}</td>" in page
    assert point.sentences(found)[0] in page
    assert "λ<sub>max</sub>" in page
    assert "mathdefault" not in page


def test_what_is_not_finite_can_be_drawn(found, tmp_path):
    bare = dataclasses.replace(
        found,
        density=point.Density([None] * 3, [None] * 3, [None] * 3, None),
        slices=[
            dataclasses.replace(s, train=[None] * 7, valid=[None] * 7, slope=None, curvature=None)
            for s in found.slices
        ],
        plane=dataclasses.replace(found.plane, values=[[None] * 3, [None] * 3, [None, 1.0, None]]),
        rows=[dataclasses.replace(r, value=None, error=None, relative=None) for r in found.rows],
    )
    page = write_report(tmp_path / "r.html", title="t", records=[], curvatures=[bare]).read_text()
    assert page.count("<svg role") == 3


def test_the_measure_of_a_run_is_drawn_where_it_was_active(tmp_path):
    row = {"time": 1.0, "meta_loss": 0.5}
    plain = [row | {"step": i} for i in (1, 2)]
    flat = [row | {"step": i, "flatness": 3.0, "active": 0.5} for i in (1, 2)]
    idle = [row | {"step": i, "flatness": 0.0, "active": 0.0} for i in (1, 2)]
    for rows, drawn in ((plain, False), (flat, True), (idle, False)):
        page = write_report(tmp_path / "r.html", title="t", records=[], rows=rows).read_text()
        assert ("measure of flatness</text>" in page) == drawn
        assert ("Right: the measure of flatness" in page) == drawn


def test_a_report_shows_the_curvature_kept_in_a_run_folder(found, tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "time": 1.0, "meta_loss": 0.5}\n')
    (tmp_path / "curvature.json").write_text(json.dumps(dataclasses.asdict(found)))
    page = report_from_folders([tmp_path], tmp_path / "r.html").read_text()
    assert 'id="curvature"' in page and "SGD on t, 5 steps" in page
