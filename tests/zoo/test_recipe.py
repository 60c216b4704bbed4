"""Recipes: the published numbers, and what they are assembled into."""

import dataclasses
import inspect
import json
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import pytest

from steppe.core.loss import StructureError
from steppe.core.optimizer import split_meta
from steppe.core.task import draw
from steppe.estimators.adapted import Adapted
from steppe.estimators.bptt import BPTT
from steppe.estimators.es import ES, PES
from steppe.estimators.mix import Mix
from steppe.estimators.self_paced import SelfPaced
from steppe.estimators.whole import Whole
from steppe.flatness.hessian import HessianTrace, LogDet
from steppe.flatness.units import Adaptive
from steppe.objectives.minimax import Merit, Reward
from steppe.objectives.regularized import Regularized
from steppe.objectives.supervised import Demonstrated, Supervised
from steppe.objectives.swarm import Located
from steppe.objectives.trajectory import Trajectory
from steppe.optimizers.adaptable import Adaptable
from steppe.optimizers.names import OPTIMIZERS
from steppe.optimizers.unrolled.coupled import TiLISTA
from steppe.tasks import Quadratic
from steppe.tasks.games.seesaw import Seesaw
from steppe.tasks.inverse.recovery import SparseRecovery
from steppe.tasks.suite import build
from steppe.tasks.wrappers.population import Population
from steppe.tasks.wrappers.scaled import Scaled
from steppe.train.adapt import Adapter
from steppe.train.layerwise import Layerwise, layer_by_layer, natural_rate
from steppe.train.loop import meta_train
from steppe.train.validate import Validation
from steppe.zoo.assemble import MAKE, assemble, measure, meta_optimizer, objective
from steppe.zoo.presets import OF_NUMBERS, PRESETS, is_unrolled, recipe
from steppe.zoo.recipe import TEACHERS, Estimator, Imitation, Optimizer, Penalty, Recipe
from steppe.zoo.recipe_json import from_json, to_flat, to_json
from steppe.zoo.registry import PRESETS as WORDS

SMALL = {"hidden": (2,)}
RECOVERY = SparseRecovery(rows=3, n=4, seed=0)
DM = Optimizer(name="dm")


def made(name, task, **changes):
    """The optimizer and the arguments of `meta_train` of a recipe."""
    return assemble(recipe(name, **changes), task, key=jr.key(0))


def test_every_preset_has_words_and_an_optimizer_of_the_list():
    assert list(PRESETS) == list(WORDS)
    assert {found.optimizer.name for found in PRESETS.values()} <= set(OPTIMIZERS)


def test_a_swarm_sees_one_scaled_problem_from_several_points():
    how = made("swarm", build("rastrigin-shifted"), hidden=(2,), scaling=1.0)[1]
    assert how["task"] == Population(Scaled(build("rastrigin-shifted"), 1.0), 4)
    assert how["objective"] == Located(Trajectory("sum", "identity"), 1e-3)
    assert objective(recipe("swarm", **{"objective.entropy": 0.0}), Quadratic(2)) == Trajectory(
        "sum", "identity"
    )
    shown = objective(recipe("swarm-path", **{"objective.walk": 6}), Quadratic(2))
    assert shown == Located(Demonstrated(6, 0.37), 1e-3)
    with pytest.raises(ValueError, match=r"`objective.entropy` is of .* add `task.particles 4`"):
        recipe("dm", **{"objective.entropy": 0.1})
    with pytest.raises(StructureError, match=r"Swarm needs a loss of the form Stacked"):
        made("swarm", Quadratic(2), particles=None, **{"objective.entropy": 0.0})


def test_every_teacher_can_be_made():
    assert {*MAKE, "self"} == set(TEACHERS)


@pytest.mark.parametrize(
    ("name", "epochs", "steps", "evaluation", "trials"),
    [("dm", 10_000, 100, 100, 20), ("rnnprop", 100, 100, 10, 20), ("l2o-scale", 100, 100, 1, 5)],
)
def test_the_budget_is_the_published_one(name, epochs, steps, evaluation, trials):
    """One epoch is one episode in windows of 20 steps, a meta-step each (flatness-l2o.md §1–4)."""
    found = recipe(name)
    windows = steps // 20
    how, run = found.estimator, found.run
    assert (how.episodes, how.unroll, how.horizon) == (1, 20, steps)
    assert (run.steps, run.validate_every) == (epochs * windows, evaluation * windows)
    assert run.validation_episodes == trials
    assert found.meta.clip is None  # the published ones clip entries or nothing


@pytest.mark.parametrize(("name", "unroll"), [("twin", 10), ("twin-cl", 10), ("twin-published", 5)])
def test_games_are_played_for_two_hundred_epochs_of_fifty_steps(name, unroll):
    """Spec of Open-L2O, 4.2: validated every 5 epochs on 20 problems; easy ones first till 80."""
    found, epoch = recipe(name), 50 // unroll
    how, run = found.estimator, found.run
    assert (how.episodes, how.unroll, how.horizon) == (128, unroll, 50)
    assert (run.steps, run.validate_every) == (200 * epoch, 5 * epoch)
    opt, parts = made(name, Seesaw(), **SMALL)
    published = name == "twin-published"
    assert how.second_order is not published
    assert (opt.scale, opt.sign_steps) == ((1.0, 10) if published else (0.1, 0))
    assert type(parts["objective"]) is (Reward if published else Merit)
    paced = parts["estimator"]
    assert isinstance(paced, SelfPaced) is (name == "twin-cl")
    if isinstance(paced, SelfPaced):
        assert (paced.first, paced.calls) == (0.2, 80 * epoch)


def test_easy_episodes_first_are_refused_where_they_have_no_gradient_of_their_own():
    with pytest.raises(ValueError, match=r"curriculum\.easiest` needs `estimator\.kind bptt`"):
        recipe("twin-cl", **{"estimator.kind": "es", "estimator.second_order": False})


def test_stages_and_ratios_are_the_published_ones():
    stages = (100, 200, 500, 1000, 1500, 2000, 2500, 3000)
    horizons = lambda name: recipe(name).curriculum.horizons
    ratio = lambda name: recipe(name).imitation.ratio
    assert horizons("dm-cl") == horizons("rnnprop-cl-il") == stages
    assert horizons("l2o-scale-cl") == (*stages, 3500, 4000, 4500, 5000)
    assert ratio("dm-cl-il") == (0.0, 0.1, 0.3) and ratio("dm-il") == (0.3,)
    assert ratio("l2o-scale-cl-il") == (0.1,)


def test_rmsprop_is_that_of_tensorflow():
    """ms from 1, ε inside the root: Δ = −lr g/√(0.9·1 + 0.1 g² + 1e-20), entries clipped before."""
    tx = meta_optimizer(recipe("l2o-scale", clip_each=2.0).meta, 500)
    g = jnp.array([0.5, -30.0])
    updates, _ = tx.update(g, tx.init(g), g)
    clipped = jnp.clip(g, -2, 2)
    expected = -1e-6 * clipped / jnp.sqrt(0.9 + 0.1 * clipped**2)
    assert jnp.allclose(updates, expected, rtol=1e-9)


@pytest.mark.parametrize("name", ["dm", "l2o-scale"])
def test_the_meta_learning_rate_decays_along_a_cosine(name):
    """Equal gradients: every update is the first one times ½(1 + cos πt/T)."""
    sizes = []
    for decay in ("none", "cosine"):
        how = recipe(name, steps=4, meta_decay=decay, clip=None, clip_each=None)
        tx = meta_optimizer(how.meta, how.run.steps)
        g, updates = jnp.ones(()), []
        state = tx.init(g)
        for _ in range(5):
            u, state = tx.update(g, state, g)
            updates.append(float(u))
        sizes.append(updates)
    expected = [(1 + math.cos(math.pi * t / 4)) / 2 for t in range(5)]
    ratios = [b / a for a, b in zip(*sizes, strict=True)]
    assert ratios == pytest.approx(expected, abs=1e-6)


def test_curriculum_and_imitation_are_assembled_stage_by_stage():
    _, how = assemble(recipe("dm-cl-il", **SMALL), Quadratic(2), key=jr.key(0))
    mix, curriculum = how["estimator"], how["curriculum"]
    assert isinstance(mix, Mix) and mix.draw and mix.names == ("main", "adam")
    chances = [curriculum.staged(mix, i).weights.tolist() for i in (0, 1, 2, 7)]
    assert chances == [[1.0, 0.0], [0.9, 0.1], [0.7, 0.3], [0.7, 0.3]]
    _, plain = assemble(recipe("dm", **SMALL), Quadratic(2), key=jr.key(0))
    assert isinstance(plain["estimator"], BPTT) and plain["curriculum"] is None


def test_teachers_share_the_imitation_steps_and_self_is_the_optimizer_at_the_start():
    how = recipe("dm-il", imitation=Imitation(teachers=("nag", "self"), ratio=(0.4,)), **SMALL)
    opt, made = assemble(how, Quadratic(2), key=jr.key(0))
    mix = made["estimator"]
    assert mix.names == ("main", "nag", "self")
    assert mix.weights.tolist() == pytest.approx([0.6, 0.2, 0.2])
    assert mix.parts[2].estimator.teacher is opt


def test_an_assembled_recipe_is_what_meta_train_takes():
    task, how = Quadratic(2), recipe("dm-il", steps=2, validate_every=2, horizon=20, **SMALL)
    opt, made = assemble(how, task, key=jr.key(0))
    assert set(made) <= set(inspect.signature(meta_train).parameters)
    best, history = meta_train(made.pop("task"), opt, **made, key=jr.key(1), log_every=1)
    assert history.rows[-1]["step"] == 2 and isinstance(best, type(opt))


@pytest.mark.parametrize(("name", "kind"), [("es", ES), ("pes", PES)])
def test_evolution_strategies_are_assembled_and_run(name, kind):
    how = recipe("dm", estimator=name, sigma=0.03, episodes=2, unroll=5, horizon=10, **SMALL)
    opt, made = assemble(how, Quadratic(2), key=jr.key(0))
    found = made["estimator"]
    assert isinstance(found, kind)
    assert (found.windows.episodes, found.windows.length, int(found.horizon)) == (2, 5, 10)
    assert float(found.sigma) == pytest.approx(0.03)
    made |= {"steps": 2, "validation": None}
    best, _ = meta_train(made.pop("task"), opt, **made, key=jr.key(1))
    changed = jax.tree_util.tree_map(lambda a, b: bool((a != b).any()), opt, best)
    assert all(jax.tree_util.tree_leaves(eqx.filter(changed, eqx.is_array)))


def test_adaptation_is_around_the_estimator_and_before_validations():
    """The published settings, but for the one that was a slip."""
    _, how = made("m-l2o", Quadratic(2), **SMALL)
    found, validation = how["estimator"], how["validation"]
    assert isinstance(found, Adapted) and not found.published_counter
    assert (found.steps, found.outer, found.order, found.inner) == (1, "next", 1, "sgd")
    assert float(found.rate) == pytest.approx(1e-3)
    assert (found.windows.episodes, found.windows.length, int(found.horizon)) == (3, 20, 100)
    assert isinstance(validation.adapt, Adapter) and validation.adapt.updates == 5
    changes = {"adapt_rate": 0.5, "adapt_learn_rate": True, "adapt_updates": 0, "adapt_order": 2}
    opt, how = made("dm-il", Quadratic(2), **changes, **SMALL)
    assert isinstance(opt, Adaptable) and opt.rate == 0.5
    main = how["estimator"].parts[0].estimator
    assert isinstance(main, Adapted) and main.order == 2 and how["validation"].adapt is None


def test_augmentations_are_around_the_task_of_meta_training():
    _, how = assemble(recipe("dm", scaling=1.0, convex=3, **SMALL), Quadratic(2), key=jr.key(0))
    problem = draw(how["task"], how["task"].sample(jr.key(1)), jr.key(2), split="train")
    params = how["task"].init(problem.instance, jr.key(3))
    assert sum(leaf.size for leaf in jax.tree_util.tree_leaves(params)) == 2 + 3


def test_a_penalty_becomes_a_regularized_objective():
    how = Penalty(
        kind="log-det", weight=0.1, where="steps", every=5, normalise="initial", gamma=2.0,
        probes=3, active="last", fraction=0.25,
    )  # fmt: skip
    made = objective(recipe("dm", horizon=200, penalty=how), Quadratic(2))
    assert isinstance(made, Regularized) and isinstance(made.measure, LogDet)
    assert (made.where, made.every, made.normalise) == ("steps", 5, "initial")
    assert float(made.strength) == pytest.approx(0.1) and int(made.since) == 150
    assert (made.measure.gamma, made.measure.probes) == (2.0, 3)
    first = dataclasses.replace(how, active="first")
    made = objective(recipe("dm", horizon=200, penalty=first), Quadratic(2))
    assert isinstance(made, Regularized) and (int(made.since), int(made.until)) == (0, 50)
    assert isinstance(objective(recipe("dm"), Quadratic(2)), Trajectory)


def test_a_penalty_is_measured_in_its_units():
    task = Quadratic(2)
    make = lambda **how: measure(Penalty(weight=1.0, **how), task)
    assert isinstance(make(kind="trace"), HessianTrace)
    assert make(kind="trace", units="length").power == 2
    assert make(kind="frobenius", units="length").power == 4
    assert isinstance(make(kind="trace", units="weights"), Adaptive)
    assert make(kind="entropy").temperature == 1.0  # a loss without examples
    with pytest.raises(ValueError, match="gauss-newton needs a task with a model"):
        make(kind="gauss-newton")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: recipe("dm", adapt_rate=-1.0), "`adapted.rate` must be zero or a positive"),
        (lambda: recipe("dm", adapt_order=3), "`adapted.order` must be from 1 to 2, got 3"),
        (lambda: recipe("dm", adapt_learn_rate=True), "must be positive for that, got none"),
        (lambda: recipe("m-l2o", estimator="pes"), "needs `estimator.kind bptt`, got pes"),
        (lambda: recipe("m-l2o", adapt_order=2, rows=3), "`estimator.rows 3` samples them"),
        (lambda: recipe("dm-cll"), "no preset 'dm-cll'; did you mean 'dm-cl'"),
        (lambda: recipe("dm", step=3), "no option 'step'; did you mean 'steps'"),
        (lambda: Imitation(teachers=("adm",)), "`imitation.teachers` cannot be 'adm'; .*'adam'"),
        (lambda: Estimator(kind="epes"), "`estimator.kind` cannot be 'epes'; .*'pes'"),
        (lambda: Estimator(kind="pes", rows=4), "`estimator.kind pes` does without"),
        (lambda: Imitation(ratio=(1.5,)), "numbers from 0 to 1"),
        (
            lambda: Recipe(optimizer=DM, imitation=Imitation(ratio=(0.1, 0.2))),
            "one number a stage",
        ),
        (
            lambda: recipe("dm-cl", validate_every=0),
            "`curriculum.horizons` goes by validation",
        ),
        (lambda: recipe("alista", validate_every=0), "`curriculum.layers` goes by validation"),
        (lambda: recipe("alista", estimator="bptt"), "needs `estimator.kind whole`, got bptt"),
        (lambda: recipe("alista", layers=0), "`optimizer.layers` must be .*, got 0"),
        (lambda: Optimizer(name="symbolic", formula="-0.1 * mn"), "no input 'mn'; did you mean"),
        (lambda: Optimizer(name="symbolic", formula="c0 * g"), "write the numbers into"),
        (lambda: recipe("alista", unroll=5), "the same number, got 5 and 16"),
        (lambda: recipe("alista", curriculum={"layers": (2, 3)}), "of three stages, .* got 2,3"),
        (lambda: recipe("alista", meta_decay="cosine"), "`meta.decay cosine` goes by all"),
        (
            lambda: recipe("alista", curriculum={"layers": None, "horizons": (3,)}),
            "`curriculum.horizons` needs episodes longer than an unroll",
        ),
        (
            lambda: made("alista", RECOVERY, layers=2, unroll=3, horizon=3),
            "must be the 2 layers of alista .* got 3",
        ),
        (
            lambda: made("alista", RECOVERY, opt="dm", optimizer={"layers": None}, hidden=(2,)),
            "`curriculum.layers` is about unrolled networks, which dm is not",
        ),
    ],
)
def test_bad_input_gets_a_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_unrolled_networks_are_trained_layer_by_layer():
    """Their recipe says in full what `fit_layerwise` does of itself."""
    opt, how = made("tilista", RECOVERY, layers=2, curriculum={"layers": (30, 20, 1)})
    assert isinstance(opt, TiLISTA) and opt.layers == 2
    assert eqx.tree_equal(how["estimator"], Whole(64, 2, 2)) and how["objective"] == Supervised(
        "last"
    )
    assert how["curriculum"] == Layerwise(layer_by_layer(2, (30, 20, 1)))
    assert how["validation"] == Validation(20, 2, 256, "objective", window=1)
    assert how["steps"] == how["curriculum"].steps(20) == 2 * (40 + 20 + 20)
    _, at_once = made("tilista", RECOVERY, curriculum={"layers": None}, objective={"of": "loss"})
    assert at_once["curriculum"] is None and at_once["steps"] == 16 * 500
    assert at_once["objective"] == Trajectory("last", "identity")


def test_networks_of_numbers_alone_are_those_that_have_no_matrices():
    names = [name for name in OPTIMIZERS if is_unrolled(name)]
    assert names
    for name in names:
        opt, _ = made(name, RECOVERY, layers=1)
        numbers = jax.tree_util.tree_leaves(split_meta(opt)[0])
        assert recipe(name).meta.lr == natural_rate(opt) if numbers else name not in OF_NUMBERS


@pytest.mark.parametrize("name", [*PRESETS, "alista"])
def test_a_recipe_comes_back_from_json(name):
    how = recipe(name, hidden=(3, 4), seed=7, penalty=Penalty(kind="trace", weight=0.5))
    assert from_json(json.loads(json.dumps(to_json(how)))) == how
    flat = json.loads(json.dumps(to_flat(how)))
    assert from_json(flat) == recipe(name, hidden=(3, 4), penalty=how.penalty)  # says no seed


def test_a_flat_recipe_says_what_differs_from_0_1():
    """Nothing was clipped there unless it was asked for."""
    assert to_flat(recipe("dm"))["opt"] == "dm" and "clip" not in to_flat(recipe("dm"))
    assert from_json({"opt": "dm"}).meta.clip is None
    clipped = Recipe(optimizer=DM)
    assert to_flat(clipped) == {"opt": "dm", "clip": 1.0}
    assert from_json(to_flat(clipped)) == clipped


def test_several_tasks_give_the_mean_of_their_meta_gradients():
    """In one run with the task of the call; each scaled alike, none validated but the first."""
    how = recipe("dm", scaling=0.5, episodes=2, unroll=2, horizon=4, hidden=(2,))
    tasks = {"wide": Quadratic(3), "long": Quadratic(5)}
    opt, parts = assemble(how, Quadratic(2), key=jr.key(0), others=tasks)
    mix, task = parts["estimator"], parts["task"]
    assert mix.names == ("first", "wide", "long") and not mix.draw
    assert [part.task for part in mix.parts] == [None, *(Scaled(t, 0.5) for t in tasks.values())]
    assert all(part.objective is None for part in mix.parts)  # the same objective: one strength
    state = mix.init(task, opt, parts["objective"], key=jr.key(1))
    mean, _, stats = mix(task, opt, state, parts["objective"], key=jr.key(2))
    assert {"first_loss", "wide_loss", "long_loss"} <= set(stats.parts)
    _, *keys = jr.split(jr.key(2), 4)
    alone = [
        part.estimator(part.task or task, opt, s, parts["objective"], key=k)[0]
        for part, s, k in zip(mix.parts, state, keys, strict=True)
    ]
    expected = jax.tree_util.tree_map(lambda *g: sum(g) / 3, *alone)
    for a, b in zip(*map(jax.tree_util.tree_leaves, (mean, expected)), strict=True):
        assert jnp.allclose(a, b, rtol=1e-12)


def test_several_tasks_are_named_in_the_recipe():
    how = recipe("dm", other_tasks=("quadratic", "booth"), keep="average", **SMALL)
    assert from_json(to_flat(how)) == from_json(to_json(how)) == how
    _, parts = assemble(how, Quadratic(2), key=jr.key(0))
    assert parts["estimator"].names == ("first", "quadratic", "booth")
    assert parts["weights"] == "average"
    imitating = recipe("dm-cl-il", other_tasks=("booth",), **SMALL)
    _, parts = assemble(imitating, Quadratic(2), key=jr.key(0))
    assert parts["estimator"].names == ("main", "adam")
    assert parts["estimator"].parts[0].estimator.names == ("first", "booth")
    with pytest.raises(ValueError, match=r"`task.others` mixes .* `adapted.rate` takes of one"):
        recipe("m-l2o", other_tasks=("booth",))
    with pytest.raises(ValueError, match="There is no task 'boot'"):
        assemble(recipe("dm", other_tasks=("boot",)), Quadratic(2), key=jr.key(0))


@pytest.mark.parametrize("name", ["rnnprop", "dm"])
def test_time_and_decay_reach_the_optimizer_and_come_back_from_json(name):
    chosen = {"time_scales": (10.0, 100.0), "opt_horizon": 500, "weight_decay": 1e-3}
    how = recipe(name, **chosen, **SMALL)
    opt, _ = assemble(how, Quadratic(2), key=jr.key(0))
    assert (opt.time_scales, opt.horizon, opt.weight_decay) == ((10.0, 100.0), 500, 1e-3)
    for kept in (to_flat(how), to_json(how), json.loads(json.dumps(to_json(how)))):
        assert from_json(kept) == how
    plain, _ = assemble(recipe(name, **SMALL), Quadratic(2), key=jr.key(0))
    assert (plain.time_scales, plain.horizon, plain.weight_decay) == ((), None, 0.0)
    with pytest.raises(ValueError, match="l2o-scale has no option 'time_scales'"):
        assemble(recipe("l2o-scale", time_scales=(10.0,)), Quadratic(2), key=jr.key(0))
