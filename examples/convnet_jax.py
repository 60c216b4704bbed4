"""A small ConvNet on real digits in JAX, trained by a learned optimizer: no learning rate.

pip install steppe ; python examples/convnet_jax.py --opt rnnprop-flat-v1
"""

import argparse

import equinox as eqx
import jax
import jax.random as jr
import optax

import steppe


class ConvNet(eqx.Module):
    convs: tuple
    head: eqx.nn.Linear

    def __call__(self, x):
        for conv in self.convs:
            x = eqx.nn.MaxPool2d(2, 2)(jax.nn.relu(conv(x)))
        return self.head(x.ravel())


def loss(model, x, y):
    return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(x), y).mean()


def main(words=None) -> float:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--opt", default="rnnprop-flat-v1", help="see `steppe list pretrained`")
    parser.add_argument("--steps", type=int, default=300)
    given = parser.parse_args(words)
    data = steppe.data.digits()
    x, y, last = (data.x[:, None] / 16).astype("f4"), data.y, len(data.y) - 300
    conv = lambda i, o: eqx.nn.Conv2d(i, o, 3, padding=1, key=jr.key(i))
    model = ConvNet((conv(1, 8), conv(8, 16)), eqx.nn.Linear(64, 10, key=jr.key(0)))
    tx = steppe.to_optax(steppe.load(given.opt))
    state = tx.init(eqx.filter(model, eqx.is_array))

    @eqx.filter_jit
    def step(model, state, key):
        rows = jr.randint(key, (128,), 0, last)
        grads = eqx.filter_grad(loss)(model, x[rows], y[rows])
        updates, state = tx.update(grads, state, eqx.filter(model, eqx.is_array))
        return eqx.apply_updates(model, updates), state

    accuracy = 0.0
    for t, key in enumerate(jr.split(jr.key(1), given.steps), 1):
        model, state = step(model, state, key)
        if t % 50 == 0 or t == given.steps:
            accuracy = float((jax.vmap(model)(x[last:]).argmax(1) == y[last:]).mean())
            print(f"step {t:4d}   test accuracy {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    main()
