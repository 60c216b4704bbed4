"""A formula as a program of its own: one file for PyTorch or for optax, without steppe.

    Path("formula_torch.py").write_text(pytorch(rule))
    Path("formula_optax.py").write_text(optax(rule))

Only what the grammar of formulas admits comes into a file: operations and inputs by their names,
and finite numbers. A name given for the heading is reduced to plain characters. The inputs are
written down by running the code that computes them (`optimizers.formulas`) on letters.
"""

import re
import textwrap
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from ..core.arguments import told
from ..core.expression import (
    CALL,
    OPERATIONS,
    Apply,
    Expression,
    Number,
    Variable,
    evaluate,
    functions,
    rewrite,
    variables,
    walk,
)
from ..optimizers import formulas
from ..optimizers.learned.symbolic import Symbolic

WIDTH = 96  # of a line
PLAIN = re.compile(r"[^A-Za-z0-9 ._@:/+-]")
LONGEST = 80  # of a heading's name


class Letters(NamedTuple):
    """A formula that grows by arithmetic on it, as a number would."""

    e: Expression

    def __add__(self, other):
        return Letters(Apply("+", (self.e, _expression(other))))

    def __mul__(self, other):
        return Letters(Apply("*", (self.e, _expression(other))))

    def __truediv__(self, other):
        return Letters(Apply("/", (self.e, _expression(other))))

    def __rsub__(self, other):
        return Letters(Apply("-", (_expression(other), self.e)))

    def __rtruediv__(self, other):
        return Letters(Apply("/", (_expression(other), self.e)))

    # Python's ** of numbers, such as the count of steps: no power of the grammar.
    def __pow__(self, power):
        return Letters(Variable(f"({self.e}) ** {power!r}"))

    def __rpow__(self, base):
        return Letters(Variable(f"{base!r}**{self.e}"))


def _expression(x: Letters | float) -> Expression:
    return x.e if isinstance(x, Letters) else Number(float(x))


def _applied(name: str) -> Callable[..., Letters]:
    return lambda *xs: Letters(Apply(name, tuple(_expression(x) for x in xs)))


class Language(NamedTuple):
    """A library and its words for the operations.

    - `module`: its name in a program
    - `clamps`: True if a number is no argument of its max and min
    """

    module: str
    clamps: bool


TORCH, JAX = Language("torch", True), Language("jnp", False)
WORDS = {"max": "maximum", "min": "minimum"}
JAX_WORDS = WORDS | {"asinh": "arcsinh"}


def code(e: Expression, language: Language) -> str:
    """A formula as an expression of Python; `name[3]` becomes the variable name_3."""
    named = rewrite(e, lambda x: Variable(_lagged(x)) if isinstance(x, Variable) else x)
    return str(_atoms(named, language)).replace("^", "**")


def _lagged(v: Variable) -> str:
    return f"{v.name}_lag{v.lag}" if v.lag else v.name


def _atoms(e: Expression, language: Language) -> Expression:
    """The formula with every call as one word, which the printer sets no brackets around."""
    if not isinstance(e, Apply):
        return e
    if not any(isinstance(node, Variable) for node, _ in walk(e)):
        return _constant(e)
    if OPERATIONS[e.operation].precedence != CALL:
        if e.operation == "^":
            return Apply("^", (_atoms(e.arguments[0], language), e.arguments[1]))
        return Apply(e.operation, tuple(_atoms(a, language) for a in e.arguments))
    if e.operation == "aq":
        a, b = e.arguments
        below = Apply("sqrt", (Apply("+", (Number(1.0), Apply("square", (b,)))),))
        return Variable(f"({_atoms(Apply('/', (a, below)), language)})")
    parts = [_atoms(a, language) for a in e.arguments]
    numbers = [p for p in parts if isinstance(p, Number)]
    if e.operation in ("max", "min") and numbers and language.clamps:
        [x] = [p for p in parts if not isinstance(p, Number)]
        bound = "min" if e.operation == "max" else "max"
        return Variable(f"{language.module}.clamp({x}, {bound}={numbers[0]})")
    words = JAX_WORDS if language is JAX else WORDS
    word = words.get(e.operation, e.operation)
    return Variable(f"{language.module}.{word}({', '.join(map(str, parts))})")


def _constant(e: Expression) -> Expression:
    with np.errstate(all="ignore"):
        value = float(evaluate(e, {}, (), functions(np), np.float64))
    return Number(value) if np.isfinite(value) else Variable(f'float("{value}")')


class Parts(NamedTuple):
    """Heading, state, inputs and update, of which both files are made."""

    heading: str
    averages: dict[str, tuple[float, str]]  # name in the state → decay, and the letter averaged
    past: dict[str, int]  # name of an input → how far it is looked back at
    inputs: dict[str, str]  # name → code
    update: str  # code


def parts(rule: Symbolic, source: str, language: Language) -> Parts:
    if not isinstance(rule, Symbolic):
        raise ValueError(f"A file is written of a Symbolic(…), got {told(rule)}.")
    plan, e = rule.plan, rule.filled()
    raw = lambda average: ("mom" if average.power == 1 else "ms") + average.name[1:]
    averages = {raw(a): (a.beta, "g" if a.power == 1 else "g * g") for a in plan.averages}
    do = {name: _applied(name) for name in OPERATIONS}
    letters = [Letters(Variable(name)) for name in averages]
    found: Mapping[str, Letters] = formulas.inputs(
        plan, Letters(Variable("g")), letters, Letters(Variable("t")), do, lambda x: x
    )
    written = {name: code(x.e, language) for name, x in found.items()}
    inputs = {name: text for name, text in written.items() if name != text}
    update = code(e, language)
    if not variables(e):
        update = f"{language.module}.full_like(g, {update})"
    return Parts(_heading(rule, source), averages, dict(plan.lags), inputs, update)


def _heading(rule: Symbolic, source: str) -> str:
    if name := PLAIN.sub("_", str(source))[:LONGEST].strip():
        name = f" From {name}."
    text, tex = rule.text(), rule.latex()
    lines = [_wrapped(f"u = {text}", "    "), "", "In LaTeX:", "", _wrapped(tex, "    ")]
    if name_of := [n for n in rule.plan.names if n != "g"]:
        known = f"{', '.join(name_of)}: see the code. Digits are decays, [3] is 3 steps ago."
        lines += ["", "g is the gradient.", _wrapped(known, "")]
    return f"An update rule that is a formula, written by steppe.{name}\n\n" + "\n".join(lines)


def _wrapped(text: str, indent: str) -> str:
    """Lines of at most WIDTH characters, broken at spaces."""
    return textwrap.fill(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _assigned(name: str, text: str, indent: str) -> str:
    """An assignment, in brackets where it takes several lines."""
    line = f"{indent}{name} = {text}"
    if len(line) <= WIDTH:
        return line
    return f"{indent}{name} = (\n{_wrapped(text, indent + '    ')}\n{indent})"


def _number(x: float) -> str:
    return f"{x:.12g}"


def pytorch(rule: Symbolic, source: str = "") -> str:
    """A file with a `torch.optim.Optimizer`, `Formula`, that takes the steps of the rule.

    - `source`: a name for the heading, of the optimizer that it stands for
    """
    p = parts(rule, source, TORCH)
    inside = " " * 8
    zeros = dict.fromkeys(p.averages, "torch.zeros_like(g)")
    zeros |= {f"{name}_past": f"g.new_zeros(({lag}, *g.shape))" for name, lag in p.past.items()}
    body, load = [], ""
    if zeros:
        first = {"step": "0"} if p.averages else {}
        body.append(f"{inside}if not s:")
        body += [f'{inside}    s["{name}"] = {zero}' for name, zero in (first | zeros).items()]
        kept = ", ".join(f's["{name}"]' for name in zeros)
        body.append(_assigned(", ".join(zeros), kept, inside))
        load = LOAD
    if p.averages:
        body.append(f'{inside}t = s["step"] = s["step"] + 1')
    for name, (beta, seen) in p.averages.items():
        if seen == "g":
            body.append(f"{inside}{name}.lerp_(g, {_number(1 - beta)})")
        else:
            body.append(f"{inside}{name}.mul_({beta}).addcmul_(g, g, value={_number(1 - beta)})")
    body += _inputs(p, rule, inside)
    body.append(_assigned("u", p.update, inside))
    for name in p.past:
        old = f"{name}_past"
        body.append(f'{inside}s["{old}"] = torch.cat([{name}[None], {old}[:-1]])')
    return PYTORCH.format(heading=p.heading, body="\n".join(body)) + load


def _inputs(p: Parts, rule: Symbolic, indent: str) -> list[str]:
    """Assignments of the inputs, now and earlier."""
    lines = [_assigned(name, text, indent) for name, text in p.inputs.items()]
    for v in variables(rule.plan.expression):
        if v.lag:
            lines.append(f"{indent}{_lagged(v)} = {v.name}_past[{v.lag - 1}]")
    return lines


PYTORCH = '''\
r"""{heading}

Needs PyTorch alone. The state is kept in float32 at least.
"""

import torch


class Formula(torch.optim.Optimizer):
    """Parameters move by lr * u, and shrink by lr * weight_decay; lr = 1 is the formula itself."""

    def __init__(self, params, lr=1.0, weight_decay=0.0):
        super().__init__(params, {{"lr": lr, "weight_decay": weight_decay}})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    g = p.grad.to(torch.promote_types(p.dtype, torch.float32))
                    u = self.update(g, self.state[p])
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(u.to(p.dtype), alpha=group["lr"])
        return loss

    def update(self, g, s):
        """The update of one parameter; its state s changes in place."""
{body}
        return u
'''
LOAD = """
    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        ids = [k for group in state_dict["param_groups"] for k in group["params"]]
        params = [p for group in self.param_groups for p in group["params"]]
        for k, p in zip(ids, params):  # PyTorch has rounded states to the dtype of parameters
            for name, x in state_dict["state"].get(k, {}).items():
                if torch.is_tensor(x):
                    self.state[p][name] = x.to(p.device, copy=True)
"""


def optax(rule: Symbolic, source: str = "") -> str:
    """A file with an `optax.GradientTransformation`, `formula()`, that takes the rule's steps.

    - `source`: a name for the heading, of the optimizer that it stands for
    """
    p = parts(rule, source, JAX)
    pasts = [f"{name}_past" for name in p.past]
    names = [*p.averages, *pasts]
    body = [
        f"            {name} = {beta} * {name} + {_number(1 - beta)} * {seen}"
        for name, (beta, seen) in p.averages.items()
    ]
    body += _inputs(p, rule, "            ")
    body.append(_assigned("u", p.update, "            "))
    for name in p.past:
        old = f"{name}_past"
        body.append(f"            {old} = jnp.concatenate([{name}[None], {old}[:-1]])")
    fields = [f"    {name}: optax.Updates" for name in p.averages]
    fields += [
        f"    {name}_past: optax.Updates  # leading axis: the last {lag} steps"
        for name, lag in p.past.items()
    ]
    zeros = ["zeros()" for _ in p.averages] + [f"zeros({lag})" for lag in p.past.values()]
    return OPTAX.format(
        heading=p.heading,
        fields="\n".join(["    count: jax.Array", *fields]),
        zeros="".join(f", {z}" for z in zeros),
        arguments="".join(f", {name}" for name in names),
        states="".join(f", state.{name}" for name in names),
        wide=f"{names[0]}.dtype" if p.averages else "wide(g)",
        body="\n".join(body),
        outer=", ".join(["0"] * (1 + len(names))) + ("," if not names else ""),
    )


OPTAX = '''\
r"""{heading}

Needs JAX and optax alone. The state is kept in float32 at least.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax


class State(NamedTuple):
{fields}


def formula(learning_rate=1.0):
    """Updates are learning_rate * u, to be added; learning_rate = 1 is the formula itself."""

    def wide(x):
        return x.dtype if x.dtype == jnp.float64 else jnp.float32

    def init(params):
        def zeros(*lags):
            return jax.tree.map(lambda p: jnp.zeros((*lags, *p.shape), wide(p)), params)

        return State(jnp.zeros((), jnp.int32){zeros})

    def update(grads, state, params=None):
        count = state.count + 1

        def leaf(given{arguments}):
            g = given.astype(wide(given))
            t = count.astype(g.dtype)
{body}
            return ((learning_rate * u).astype(given.dtype){arguments})

        found = jax.tree.map(leaf, grads{states})
        inner = jax.tree.structure(({outer}))
        updates, *after = jax.tree.transpose(jax.tree.structure(grads), inner, found)
        return updates, State(count, *after)

    return optax.GradientTransformation(init, update)
'''
