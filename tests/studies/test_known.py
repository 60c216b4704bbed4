"""Cards of shipped optimizers say what the records of studies say of them."""

import dataclasses
from pathlib import Path

import pytest

from steppe.studies.shipped_weights import cifar10, known
from steppe.zoo import card
from steppe.zoo.io import load

FOLDER = Path(cifar10.__file__).parent


@pytest.fixture(scope="module")
def found():
    return known.study()


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


def test_a_card_with_what_is_known_keeps_the_numbers(tmp_path, found):
    equinox = pytest.importorskip("equinox")
    known.release(tmp_path / "dm-v1.safetensors", name="dm-v1", elsewhere=[record("dm-v1", 1.0)])
    new, old = card(tmp_path / "dm-v1.safetensors"), card("dm-v1")
    assert equinox.tree_equal(load(tmp_path / "dm-v1.safetensors"), load("dm-v1"))
    assert "test loss 1.00, accuracy 0.500" in new.known[2]
    same = {"known", "failures"}
    for field in dataclasses.fields(new):
        assert field.name in same or getattr(new, field.name) == getattr(old, field.name)
