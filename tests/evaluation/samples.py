"""Records made up for the tests of `compare` and `report`."""

from steppe.evaluation.records import Record


def made_up(optimizer="Adam", ends=(0.2, 0.3, 0.4), **changes) -> Record:
    """A record over three seeds that start at 2.0, 2.1, 2.2 and end at `ends`."""
    starts = (2.0, 2.1, 2.2)
    losses = [
        [a, (a + b) / 2 if b is not None else None, b] for a, b in zip(starts, ends, strict=True)
    ]
    accuracy = [[0.1, 0.5, 1 - b if b is not None else None] for b in ends]
    learned = optimizer.startswith("Learned")
    plain = {
        "task": "digits",
        "optimizer": optimizer,
        "learned": learned,
        "hyper": {},
        "horizon": 10,
        "seeds": [0, 1, 2],
        "points": [0, 5, 10],
        "metrics": {"train_loss": losses, "test_loss": losses, "test_accuracy": accuracy},
        "curve_steps": [0.0, 5.0, 9.0],
        "curve": losses,
        "diverged": [i for i, b in enumerate(ends) if b is None],
        "params": 55,
        "ms_per_step": 0.4 if learned else 0.1,
        "gradients_per_step": 1,
        "state_bytes_per_param": 168.0 if learned else 8.0,
        "tuning": {} if learned else {
            "best": 0.0316, "grid": [0.01, 0.0316], "scores": [0.5, 0.4], "seeds": 2,
            "trials": 4, "horizon": 10, "split": "valid", "edge": "highest",
        },
    }  # fmt: skip
    return Record(**{**plain, **changes})


LEARNED = made_up("Learned", ends=(0.10, 0.21, 0.29))  # differs from Adam by −0.10, −0.09, −0.11
SGD = made_up("SGD", ends=(0.05, 0.15, 0.25))
