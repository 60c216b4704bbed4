"""Claims that optimizers carry: in the file, checked by readers, attacked by `steppe verify`."""

import json

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import pytest

from steppe.certificates.attack import broken, rises
from steppe.optimizers.classic.from_optax import adam
from steppe.optimizers.classic.proximal import ISTA
from steppe.optimizers.learned.go_math_l2o import GoMathL2O
from steppe.optimizers.learned.math_l2o import MathL2O
from steppe.optimizers.proofs import DESCENT, claims
from steppe.store import checkpoint
from steppe.store.checkpoint import CheckpointError
from steppe.store.describe import describe
from steppe.zoo import load, manifest, save

KEY = jr.key(0)
HELD = MathL2O(hidden=(2,), monotone=True, key=KEY)
LOOSE = MathL2O(hidden=(2,), key=KEY)


def test_a_claim_follows_from_class_and_settings_alone():
    assert claims(**describe(HELD)) == {"descent": DESCENT}
    assert claims(**describe(GoMathL2O(hidden=(2,), monotone=True, key=KEY))) == {
        "descent": DESCENT
    }
    for opt in (LOOSE, MathL2O(("p",), (2,), key=KEY), adam(0.1), ISTA()):
        assert claims(**describe(opt)) == {}
    for hyper in ({}, {"monotone": 1, "use": ["p"]}, {"monotone": True, "use": ["p", "b1"]}):
        assert claims("MathL2O", hyper) == {}


def test_save_states_it_and_load_and_info_read_it(tmp_path, steppe):
    held, loose = tmp_path / "held.safetensors", tmp_path / "loose.safetensors"
    save(held, HELD)
    save(loose, LOOSE)
    assert manifest(held)["claims"] == {"descent": DESCENT} and "claims" not in manifest(loose)
    assert load(held).monotone
    assert DESCENT in steppe("info", held).out


@pytest.mark.parametrize(
    "claimed",
    [
        {"descent": DESCENT},
        {"convergence": "always"},
        [DESCENT],
        "all",
        None,
        {"a": [1]},
        {"a": None},
    ],
)
def test_a_forged_claim_is_refused_by_every_reader(tmp_path, steppe, claimed):
    path = tmp_path / "forged.safetensors"
    checkpoint.save(path, LOOSE, manifest={**describe(LOOSE), "claims": claimed})
    with pytest.raises(CheckpointError, match=r"makes a claim, .* does not prove"):
        load(path)
    for verb in ("verify", "info"):
        answer = steppe(verb, path)
        assert answer.code == 2 and "makes a claim" in answer.err and answer.err.count("\n") == 1


def test_other_words_for_a_true_claim_are_refused(tmp_path, steppe):
    path = tmp_path / "m.safetensors"
    told = {"descent": DESCENT.replace("no step", "nothing")}
    checkpoint.save(path, HELD, manifest={**describe(HELD), "claims": told})
    assert steppe("verify", path).code == 2


def test_verify_attacks_it(tmp_path, steppe):
    path = tmp_path / "m.safetensors"
    save(path, eqx.tree_at(lambda o: o.mixing.w, HELD, jnp.full((2, 2), 1e3)))
    answer = steppe("verify", path)
    assert answer.code == 0 and "64 random problems of 100 steps bear out" in answer.out
    answer = steppe("verify", path, "--json")
    assert json.loads(answer.out) == {
        "optimizer": str(path), "claims": {"descent": DESCENT}, "wrong": [],
    }  # fmt: skip
    assert steppe("verify", path, "--again", "adam").code == 2


def test_what_claims_nothing_is_told_so(tmp_path, steppe):
    save(tmp_path / "m.safetensors", LOOSE)
    answer = steppe("verify", tmp_path / "m.safetensors")
    assert answer.code == 2 and "claims nothing that could be checked" in answer.err


def test_the_attack_breaks_what_is_not_so():
    """Steps of 1/L never raise it, steps of 3/L do."""
    assert rises(ISTA())[0] == 0
    assert rises(ISTA(3.0))[0] > 100
    assert "on random problems raised the objective" in broken(ISTA(3.0), {"descent": DESCENT})[0]


@pytest.mark.parametrize("use", [[["p"], ["p"]], 5, "pa", {"p": 1}, ["p", None], True])
def test_settings_that_are_none_prove_nothing(use):
    assert claims("MathL2O", {"monotone": True, "use": ["p"]})
    assert claims("MathL2O", {"monotone": True, "use": use}) == {}
