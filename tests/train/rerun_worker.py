"""Meta-train once, in a process of its own, and print the bytes of all that came out as a digest.

python rerun_worker.py small | study
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path

import jax
import jax.random as jr
import numpy as np
import optax


def small() -> dict:
    """A rule of few operations; its loss is a sum over enough numbers for threads to share."""
    from steppe.estimators.bptt import BPTT
    from steppe.objectives.trajectory import Trajectory
    from steppe.optimizers.learned.learned_adam import LearnedAdam
    from steppe.tasks.synthetic.quadratic import Quadratic
    from steppe.train.validate import Validation

    return {
        "task": Quadratic(400, instances=4),
        "opt": LearnedAdam(0.1, 0.5, 0.5, 0.1),
        "steps": 12,
        "estimator": BPTT(2, 5, 20),
        "objective": Trajectory(),
        "meta_tx": optax.adam(1e-2),
        "validation": Validation(every=6, horizon=10, episodes=2),
        "key": jr.key(1),
    }


def study() -> dict:
    """The first meta-steps of a cell of the study of flatness, past its first validations."""
    from steppe.studies.flatness import design, scales, work

    cell = design.learned(scales.SMALL, "rnnprop", "cl", "relative-trace", 0)
    opt, how, key = work.start(cell)
    return {"opt": opt, **how, "key": key, "steps": 60}


def digest(how: dict) -> dict[str, str]:
    from steppe.train.loop import meta_train

    with tempfile.TemporaryDirectory() as folder:
        task, opt = how.pop("task"), how.pop("opt")
        _, history = meta_train(task, opt, folder=folder, log_every=1, **how)
        [*_, newest] = sorted(Path(folder).glob("step-*.safetensors"))
        weights = hashlib.sha256(newest.read_bytes()).hexdigest()
    timed = ("time", "inner_steps_per_s")
    rows = [{k: v for k, v in row.items() if k not in timed} for row in history.rows]
    said = hashlib.sha256(repr(rows).encode()).hexdigest()
    return {"weights": weights, "rows": said, "last": repr(rows[-1])}


def sums(cell: dict) -> dict:
    """For a study: a long sum and a product, which depend on the number of threads."""
    x = np.random.default_rng(0).standard_normal((1797, 64)).astype(np.float32)
    total, product = jax.jit(lambda x: (x.sum(), x.T @ x))(x)
    found = hashlib.sha256(np.asarray(total).tobytes() + np.asarray(product).tobytes())
    return {"digest": found.hexdigest()}


if __name__ == "__main__":
    print(json.dumps(digest({"small": small, "study": study}[sys.argv[1]]())))
