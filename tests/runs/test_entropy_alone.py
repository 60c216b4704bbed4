"""A run with the entropy of a swarm ends, whatever the number of cores: it takes one device."""

import contextlib

from steppe.runs import session
from steppe.zoo.presets import recipe


class Asked(Exception):
    pass


def test_a_run_with_the_entropy_takes_one_device(tmp_path, monkeypatch):
    asked = []

    def use_cores(cores, threads):
        asked.append(cores)
        raise Asked

    monkeypatch.setattr(session, "use_cores", use_cores)
    small = {"task": "rastrigin-shifted", "steps": 1, "cores": 2}
    for name, changes in (("swarm-path", {}), ("swarm-path", {"objective.entropy": 0.0})):
        with contextlib.suppress(Asked):
            session.train(recipe(name, **small, **changes), tmp_path / str(len(asked)))
    assert asked == [1, 2]
