"""A small ConvNet on real digits in PyTorch, trained by a learned optimizer: no learning rate.

pip install torch scikit-learn ; pip install --no-deps steppe
python examples/convnet_torch.py --opt rnnprop-flat-v1
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

from steppe.torch import LearnedOptimizer


def data():
    """Images (rows, 1, 8, 8) and labels, shuffled, the last 300 rows for the test."""
    x, y = load_digits(return_X_y=True)
    rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x = torch.tensor(x, dtype=torch.float32).reshape(-1, 1, 8, 8)[rows] / 16
    y = torch.tensor(y)[rows]
    return (x[:-300], y[:-300]), (x[-300:], y[-300:])


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def main(words=None) -> float:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--opt", default="rnnprop-flat-v1", help="see `steppe list pretrained`")
    parser.add_argument("--steps", type=int, default=300)
    given = parser.parse_args(words)
    torch.manual_seed(0)
    (x, y), (x_test, y_test) = data()
    model = network()
    opt = LearnedOptimizer(model.parameters(), given.opt)
    accuracy = 0.0
    for step in range(1, given.steps + 1):
        rows = torch.randint(len(x), (128,))
        opt.zero_grad()
        cross_entropy(model(x[rows]), y[rows]).backward()
        opt.step()
        if step % 50 == 0 or step == given.steps:
            with torch.no_grad():
                accuracy = (model(x_test).argmax(1) == y_test).float().mean().item()
            print(f"step {step:4d}   test accuracy {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    main()
