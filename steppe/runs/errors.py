"""How a command fails: one sentence on stderr and an exit code."""


class BadInput(Exception):
    """What the user gave cannot be used; exit code 2."""


class Failed(Exception):
    """The command ran and found a failure; exit code 1."""
