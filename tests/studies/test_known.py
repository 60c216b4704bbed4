"""Cards of shipped optimizers say what the records of studies say of them."""

import dataclasses
from pathlib import Path

import pytest

from steppe.evaluation.engines import cell_id
from steppe.studies.flatness.lines import pick
from steppe.studies.flatness.summary import change
from steppe.studies.shipped_weights import cifar10, known
from steppe.studies.shipped_weights.settings import ELSEWHERE, ONE_LOOK, UNKNOWN
from steppe.studies.study import read, records
from steppe.zoo import PRETRAINED, card
from steppe.zoo.io import load, manifest

FOLDER = Path(cifar10.__file__).parent


@pytest.fixture(scope="module")
def rows():
    return read(FOLDER / "cifar10.jsonl")


@pytest.fixture(scope="module")
def elsewhere(rows):
    return [*records(rows), *records(read(known.AUDIT))]


@pytest.fixture(scope="module")
def found():
    return known.study()


def test_readme_has_the_tables_of_the_run_and_of_the_audit(rows):
    design = ELSEWHERE["small"]
    assert {cell_id(cell) for cell in cifar10.cells(design)} == {row.id for row in rows}
    assert all(row.result is not None for row in rows)
    audit = read(known.AUDIT)
    assert all(r["seeds"] == 2 and r["source"] for r in records(audit))
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    for table in (cifar10.conclude(design, rows), cifar10.conclude(design, audit)):
        assert table.text in text
        assert set(table.files) == {f"{name}.safetensors" for name in design.names}


@pytest.mark.parametrize("name", PRETRAINED)
def test_what_stands_on_a_card_is_what_the_records_say(name, elsewhere, found):
    there = card(name)
    bare = dataclasses.replace(
        there,
        known=(),
        failures=tuple(
            said.replace(ONE_LOOK, UNKNOWN) for said in there.failures if known.PLACE not in said
        ),
    )
    second = known.second_study()
    made = known.informed(bare, found, second, elsewhere)
    assert (made.known, made.failures) == (there.known, there.failures)
    assert known.informed(there, found, second, elsewhere) == there


def test_the_card_of_the_flat_rnnprop_says_what_it_is_and_that_dm_fails_elsewhere():
    said = " ".join(card("rnnprop-flat-v1").known)
    assert "with jacobian at weight 3" in said and "the optimizer of 150 is kept" in said
    assert "test loss 0.65 times [0.54, 0.79] (better)" in said
    assert "test accuracy +0.74 points [-0.30, +1.78] (not beyond chance)" in said
    assert "rnnprop with a curriculum and relative-trace" in said
    assert any(known.PLACE in failure for failure in card("dm-v1").failures)
    looks = {
        name: any(ONE_LOOK in failure for failure in card(name).failures) for name in PRETRAINED
    }
    assert looks == {name: "symbolic" not in name for name in PRETRAINED}


def record(name, test_loss, seed=0, **more):
    sizes = {"weights": 10, "images": [100, 10], "steps": 20, "seed": seed}
    return {"optimizer": name, "train_loss": 1.0, "test_loss": test_loss, "test_accuracy": 0.5,
            **sizes, **more}  # fmt: skip


def adamw(lr, test_loss, schedule="constant"):
    return record("adamw", test_loss, lr=lr, schedule=schedule)


RIVALS = [adamw(0.01, 1.2), adamw(0.001, 1.0), adamw(0.01, 0.5, "cosine"), adamw(1.0, None)]


def test_a_failure_is_one_beside_the_best_constant_rate():
    at = lambda *losses: [record("dm-v1", x, seed) for seed, x in enumerate(losses)]
    assert known.missed("dm-v1", [*at(1.05, 1.1), *RIVALS]) == []
    [said] = known.missed("dm-v1", [*at(1.4, 1.6), *RIVALS])
    assert "1.50, is 50 % above that of AdamW at the best of 3 constant rates, 1.00" in said
    assert known.missed("dm-v1", [*at(1.0, None), *RIVALS]) == [f"{known.PLACE}: diverges."]
    assert known.missed("dm-flat-v1", [*at(1.0), *RIVALS]) == []  # not looked at


def test_where_flatness_pays_is_told_by_the_twins():
    both = lambda flat, plain: [record("dm-flat-v1", flat), record("dm-v1", plain), *RIVALS]
    for name in ("dm-v1", "dm-flat-v1"):
        look, regime = known.seen(name, both(1.0, 1.2))
        assert "1 seed," in look and "twin test loss" in look
        assert regime.startswith("There flatness pays:") and "before either" in regime
        assert known.seen(name, both(1.2, 1.0))[1].startswith("There flatness does not pay:")
        assert len(known.seen(name, both(None, 1.0))) == 1  # diverges: no word on what pays
    assert known.seen("dm-v1", []) == []


def test_the_network_is_that_of_the_text_and_equal_seeds_have_equal_starts():
    torch = pytest.importorskip("torch")
    starts = []
    for _ in range(2):
        torch.manual_seed(3)
        starts.append(cifar10.network())
    first, second = ([*net.parameters()] for net in starts)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert sum(p.numel() for p in first) == 15_786
    assert starts[0](torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_a_cosine_comes_down_to_nothing_and_a_constant_rate_stays():
    torch = pytest.importorskip("torch")
    cell = {"optimizer": "adamw", "lr": 0.1, "steps": 4}
    for schedule, wanted in (
        ("constant", [0.1] * 4),
        ("cosine", [0.1, 0.0853553, 0.05, 0.0146447]),
    ):
        made, rate = cifar10.optimizer_of(cell | {"schedule": schedule}, torch.nn.Linear(2, 2))
        found = []
        for step in range(4):
            rate(step)
            found.append(made.param_groups[0]["lr"])
        assert found == pytest.approx(wanted, abs=1e-6)


def test_looks_are_told_apart_and_failures_go_by_the_first():
    own = [record("dm-v1", 1.5), *RIVALS]
    other = [r | {"source": "somebody", "seeds": 2} for r in (record("dm-v1", 1.0), *RIVALS)]
    assert known.by_source([*own, *other]) == [own, other]
    assert "2 seeds" in known.seen("dm-v1", other)[0]
    assert "reported by somebody" in known.seen("dm-v1", other)[0]
    assert "reported" not in known.seen("dm-v1", own)[0]


def test_a_card_with_what_is_known_keeps_the_numbers(tmp_path, found):
    equinox = pytest.importorskip("equinox")
    known.release(tmp_path / "dm-v1.safetensors", name="dm-v1", elsewhere=[record("dm-v1", 1.0)])
    new, old = card(tmp_path / "dm-v1.safetensors"), card("dm-v1")
    assert equinox.tree_equal(load(tmp_path / "dm-v1.safetensors"), load("dm-v1"))
    kept = [manifest(x) | {"card": None} for x in (tmp_path / "dm-v1.safetensors", "dm-v1")]
    assert kept[0] == kept[1]  # arguments that the class has since then are not written down
    assert "test loss 1.00, accuracy 0.500" in new.known[2]
    same = {"known", "failures"}
    for field in dataclasses.fields(new):
        assert field.name in same or getattr(new, field.name) == getattr(old, field.name)


def test_what_readme_says_of_the_convnet_is_so(rows, found):
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    both = records(rows), records(read(known.AUDIT))
    for look in both:
        loss = lambda name, look=look: (
            known.means([r for r in look if r["optimizer"] == name]).test_loss
        )
        assert loss("rnnprop-flat-v1") > loss("rnnprop-v1")
        assert loss("dm-flat-v1") < loss("dm-v1")
        assert loss("l2o-scale-flat-v1") < loss("l2o-scale-v1")
        assert known.missed("dm-v1", look)
    mine, audit = (
        known.means([r for r in look if r["optimizer"] == "rnnprop-v1"]) for look in both
    )
    rival, theirs = map(known.best, both)
    assert audit.test_loss < theirs.test_loss and mine.test_accuracy > rival.test_accuracy
    assert 1 < mine.test_loss / rival.test_loss < 1.02
    said = f"{mine.test_loss:.2f} against {rival.test_loss:.2f}"
    assert said in text
    wanted = {"optimizer": "rnnprop", "technique": "plain", "ours": "jacobian"}
    line = pick(found.generalisation, **wanted, metric="ln test_loss")
    assert change(line).replace(" times", "") in text
