"""Files that steppe 0.1 wrote load bit for bit.

`golden/from_0_1` was written by commit 06ae006: an optimizer of every class (`save_optimizer`), a
run folder (`steppe train --task quadratic --opt dm --hidden 3 --steps 4 --episodes 2 --unroll 3
--horizon 6 --validate-every 2 --seed 3 --clip none --flat.kind trace --flat.weight 1e-3
--curriculum.horizons 6,9 --checkpoint-every 2`), a certificate (`steppe certify run --n 60
--steps 8 --tolerances 300,5 --delta 0.1 --metric loss`), and the digest of every array that 0.1
read from them.
"""

import hashlib
import json
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import pytest

from steppe.cli.main import main
from steppe.zoo import PRETRAINED, load

FOLDER = Path(__file__).parents[1] / "golden" / "from_0_1"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())


def digests(opt):
    """Path of each array → dtype, shape, SHA-256 of its bytes."""
    found = {}
    for path, leaf in jtu.tree_leaves_with_path(eqx.filter(opt, eqx.is_array)):
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            a = np.asarray(leaf)
            digest = hashlib.sha256(a.tobytes()).hexdigest()
            found[jtu.keystr(path)] = [str(a.dtype), list(a.shape), digest]
    return found


@pytest.mark.parametrize("name", EXPECTED)
def test_an_optimizer_loads_bit_for_bit(name):
    source = name if name in PRETRAINED else FOLDER / name
    assert digests(load(source)) == EXPECTED[name]


def test_every_shipped_network_is_among_them():
    networks = {name for name, entry in PRETRAINED.items() if entry.family != "symbolic"}
    assert networks <= set(EXPECTED)


def test_a_certificate_is_still_borne_out(capsys):
    assert main(["verify", str(FOLDER / "cert")]) == 0
    assert "bears out all 6 claims" in capsys.readouterr().out
