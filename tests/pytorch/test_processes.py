"""Without JAX, and over processes."""

import subprocess
import sys
import textwrap

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'steppe[torch]'")

WITHOUT = """
import sys
for name in ("jax", "jaxlib", "equinox", "optax", "jaxtyping", "rich", "matplotlib", "jinja2"):
    sys.modules[name] = None  # importing it raises ImportError
"""


def python(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_needs_nothing_but_pytorch():
    said = python(
        WITHOUT
        + """
import torch
from steppe.torch import LearnedOptimizer
from steppe.zoo.registry import PRETRAINED

for name in PRETRAINED:
    x = torch.nn.Parameter(torch.ones(3))
    opt = LearnedOptimizer([x], name)
    for _ in range(5):
        opt.zero_grad()
        (x ** 2).sum().backward()
        opt.step()
    assert float(x.detach().abs().max()) < 1, name
print("ok")
"""
    )
    assert said == "ok\n"


DDP = """
import os, sys
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from steppe.torch import LearnedOptimizer

rank, place = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{place}", rank=rank, world_size=2)
for rule in sys.argv[3:]:
    torch.manual_seed(0)
    net = torch.nn.Linear(4, 3, dtype=torch.float64)
    x, y = torch.randn(8, 4, dtype=torch.float64), torch.randn(8, 3, dtype=torch.float64)
    model = DistributedDataParallel(net)
    opt = LearnedOptimizer(model.parameters(), rule)
    for _ in range(4):
        opt.zero_grad()
        half = slice(4 * rank, 4 * rank + 4)
        ((model(x[half]) - y[half]) ** 2).mean().backward()
        opt.step()
    both = [torch.zeros_like(net.weight) for _ in range(2)]
    dist.all_gather(both, net.weight.detach())
    torch.manual_seed(0)
    alone = torch.nn.Linear(4, 3, dtype=torch.float64)
    single = LearnedOptimizer(alone.parameters(), rule)
    for _ in range(4):
        single.zero_grad()
        ((alone(x) - y) ** 2).mean().backward()
        single.step()
    assert torch.equal(*both), rule
    torch.testing.assert_close(alone.weight, net.weight, msg=lambda text: f"{rule}: {text}")
dist.destroy_process_group()
"""


def test_two_processes_take_the_steps_of_one(tmp_path):
    rules = ("rnnprop-v1", "l2o-scale-v1")
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", DDP, str(rank), str(tmp_path / "meeting"), *rules],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for worker in workers:
        _, said = worker.communicate(timeout=120)
        assert worker.returncode == 0, said
