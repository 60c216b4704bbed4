"""One process of a test: what it finds is printed as the last line, in JSON.

python mesh_worker.py devices 1 4                   meta-gradients on so many devices
python mesh_worker.py join PROCESS PORT FOLDER      what two processes find together
python mesh_worker.py train PROCESS PORT FOLDER STEPS
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import optax

from steppe.core.rollout import map_lanes
from steppe.estimators.bptt import BPTT
from steppe.objectives.trajectory import Trajectory
from steppe.optimizers.classic.from_optax import FromOptax
from steppe.tasks.synthetic.quadratic import Quadratic
from steppe.train import mesh as meshes
from steppe.train.loop import meta_train
from steppe.train.validate import Validation

PATIENCE = 10  # seconds until a lost process is given up
LIMIT = 240  # seconds until a test gives a process up


def setting() -> dict:
    return {
        "estimator": BPTT(4, 3, 6),
        "objective": Trajectory(),
        "meta_tx": optax.sgd(0.01),
    }


def fresh():
    return FromOptax("adam", learning_rate=0.1, b1=0.9, b2=0.99)


def flat(opt) -> list[float]:
    return [float(x) for x in jtu.tree_leaves(eqx.filter(opt, eqx.is_inexact_array))]


def gradient(mesh) -> tuple[list[float], int]:
    """A meta-gradient by `mesh`, and over how many devices the episodes are spread."""
    task, opt, parts = Quadratic(3), fresh(), setting()
    estimator, objective = parts["estimator"], parts["objective"]

    @jax.jit
    def estimate(key):
        state = estimator.init(task, opt, objective, key=key)
        return estimator(task, opt, state, objective, key=key)[:2]

    with meshes.active(mesh):
        grads, state = estimate(jr.key(1))
    return flat(grads), len(state.episode.step.sharding.device_set)


def train(folder: str, steps: int, **options) -> list[float]:
    options = {"key": jr.key(1), "checkpoint_every": 2, "log_every": 1} | options
    opt, _ = meta_train(Quadratic(3), fresh(), **setting(), steps=steps, folder=folder, **options)
    return flat(opt)


def devices(*counts: int) -> dict:
    """Meta-gradients in double and in single precision by the number of devices."""
    grads = {}
    for bits in (64, 32):
        with jax.enable_x64(bits == 64):
            for count in counts:
                found, spread = gradient(meshes.episode_mesh(jax.devices()[:count]))
                assert spread == count
                grads.setdefault(str(bits), {})[str(count)] = found
    return grads


def join(process: int, folder: str) -> dict:
    said = Said()
    one = train(folder, 1, sinks=[said])
    three = train(folder, 3, sinks=[said])
    number = lambda n: meshes.agree("The number", {"n": n}, "Mend it.")
    return {
        "theta": {1: one, 3: three},
        "rows": said.rows,
        "said": said.said,
        "uneven": sentence(lambda: spread(3)),
        "equal": sentence(lambda: number(3)),
        "other": sentence(lambda: number(process)),
        "keys": sentence(lambda: train(folder, 3, key=jr.key(process))),
        "folders": sentence(lambda: train(f"{folder}{process or ''}", 3)),
        "late": sentence(lambda: meshes.connect("127.0.0.1:4000", 2, process)),
    }


def spread(episodes: int) -> None:
    with meshes.active(meshes.episode_mesh()):
        map_lanes(lambda shared, x: x, (), jnp.zeros(episodes), batch_size=1)


def sentence(act) -> str:
    try:
        act()
    except (RuntimeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return "fine"


class Said:
    """A sink that remembers."""

    def __init__(self):
        self.rows, self.said = {}, []

    def write(self, row):
        self.rows[row["step"]] = row["grad_norm"]

    def say(self, text):
        self.said.append(text)

    def close(self):
        pass


def spawn(*arguments: object) -> subprocess.Popen:
    """This file as a process of its own, with this process's cache of compiled programs."""
    cache = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    root = str(Path(__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, __file__, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": root, "JAX_COMPILATION_CACHE_DIR": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def pair(what: str, *arguments: object) -> list[subprocess.Popen]:
    """Two processes that join each other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [spawn(what, process, port, *arguments) for process in (0, 1)]


def found(process: subprocess.Popen):
    """What a process printed, once it has ended well."""
    out, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def main(what: str, *arguments: str) -> None:
    jax.config.update("jax_enable_x64", True)
    if what == "devices":
        counts = [int(count) for count in arguments]
        meshes.use_cores(max(counts))
        print(json.dumps(devices(*counts)))
        return
    process, port, folder, *steps = arguments
    meshes.use_cores(1)
    meshes.connect(f"127.0.0.1:{port}", 2, int(process), patience=PATIENCE)
    if what == "join":
        print(json.dumps(join(int(process), folder)))
    else:
        validation = Validation(every=50, horizon=4, episodes=2)
        print(json.dumps(train(folder, int(steps[0]), validation=validation)))


if __name__ == "__main__":
    main(*sys.argv[1:])
