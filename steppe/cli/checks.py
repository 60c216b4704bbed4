"""Sentences for numbers that an option cannot be. Standard library only."""

import math

SEEDS = 2**32  # jax.random.key takes 32 bits where float64 is off


def at_least(least: int, options: object, name: str, group: str = "") -> None:
    value = getattr(options, name)
    if value is not None and value < least:
        raise ValueError(f"{flag(group + name)} must be at least {least}, got {value}.")


def positive(options: object, name: str, group: str = "") -> None:
    value = getattr(options, name)
    if value is not None and not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{flag(group + name)} must be a positive number, got {value:g}.")


def not_negative(options: object, name: str, group: str = "") -> None:
    value = getattr(options, name)
    if value is not None and not (value >= 0 and math.isfinite(value)):
        raise ValueError(f"{flag(group + name)} must be zero or a positive number, got {value:g}.")


def check_seed(seed: int) -> None:
    if not 0 <= seed < SEEDS:
        raise ValueError(f"--seed must be from 0 to {SEEDS - 1}, got {seed}.")


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def listed(values: tuple) -> str:
    return ",".join(map(str, values))
