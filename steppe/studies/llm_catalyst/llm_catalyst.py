"""Does a language model that sees what was tried help gradients more than chance does?

Gradients alone, and gradients in turn with a proposer, on the same problems from the same starts,
each with the same number of gradients to the last one. A proposer has helped only if it ends below
restarts at random, by the interval of the differences over seeds.

    steppe reproduce llm-catalyst --scale small

The answers of SmolLM2-135M lie in the folder `answers`, so that its runs are repeated without a
server. Another model is asked by `--base-url URL --model NAME --answers FOLDER`, which also keeps
its answers.

Guo et al., "Two optimizers are better than one: LLM catalyst empowers gradient-based optimization
for prompt tuning", 2024. What is expected: `expectations.toml`, there before the run; what came
out: `README.md`.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...evaluation.engines import Row
from ...prompt.breaker import Breaker
from ...prompt.cache import CachedClient
from ...prompt.catalyst import Catalyst, alone
from ...prompt.chat import AbstractClient
from ...prompt.client import HTTPClient
from ...prompt.history import History, Round
from ...prompt.pool import Pool
from ...prompt.proposers import LLM, AbstractProposer, Echo, RandomRestart, Scripted
from ...prompt.scripted import ScriptedClient
from ...prompt.state import Alternate, State
from ..study import Cell, Conclusion, Study
from ..suite import concluded
from . import page, summary
from .made import absent, problem
from .made import schedule as schedule_of
from .problems import Problem, Texts
from .settings import ANSWERS, ASKED, CONTROLLED, FIRST, REPLAYED, SUPERGLUE, Catalysed

EXPECTATIONS = Path(__file__).with_name("expectations.toml")
LONGEST_FIRST = (*SUPERGLUE, "newsgroups", "settings", "words", "numbers")
HEAVY = (*SUPERGLUE, "newsgroups", "settings")
TOKENS = 120  # of an answer
HEAT = 0.9  # temperature of a model; a small one repeats itself below
PATIENCE = 600.0  # seconds for one question


def cells(settings: Catalysed) -> Iterator[Cell]:
    """A cell for the proposers that ask nobody, and one for each that asks a model, seed by seed.

    Problems whose data are not here, and models without answers or a server, are left out.
    """
    by_hand = [arm for arm in settings.arms if arm not in ASKED]
    asked = [arm for arm in settings.arms if arm in ASKED]
    for name in LONGEST_FIRST:
        if name not in settings.problems or absent(name, settings):
            continue
        count = min(settings.seeds, settings.heavy) if name in HEAVY else settings.seeds
        for seed in range(FIRST, FIRST + count):
            sizes = {
                "problem": name,
                "seed": seed,
                "rounds": settings.rounds,
                "candidates": settings.candidates,
                "factor": settings.factor,
            }
            if name in SUPERGLUE:
                given = ("superglue", "encoder", "length")
                sizes |= {field: getattr(settings, field) for field in given}
            yield {**sizes, "arms": ["alone", *by_hand]}
            for arm in asked if seed < FIRST + settings.asked else ():
                if not silent(name, settings) and (arm == "llm" or name in CONTROLLED):
                    yield {**sizes, "arms": [arm], **_model(settings)}


def silent(name: str, settings: Catalysed) -> bool:
    """True where there are neither answers nor a server."""
    if settings.answers:
        return not settings.base_url and not any(Path(settings.answers).glob("*.json"))
    return name not in REPLAYED or not any(ANSWERS.glob("*.json"))


def _model(settings: Catalysed) -> Cell:
    """The model and its server; what is not given is left out."""
    given = {name: getattr(settings, name) for name in ("answers", "base_url", "key_env")}
    return {"model": settings.model, **{name: value for name, value in given.items() if value}}


def run(cell: Cell) -> dict[str, Any]:
    """All arms of a cell, on one problem."""
    made, schedule = problem(cell), schedule_of(cell)
    found = [arm_of(made, schedule, arm, cell) for arm in cell["arms"]]
    return {"rows": found}


def arm_of(made: Problem, schedule: Alternate, arm: str, cell: Cell) -> dict[str, Any]:
    """One run, as a record."""
    descent, candidates = made.descent, cell["candidates"]
    if descent.gradients_per_step != 1:
        raise ValueError(f"{cell['problem']}: a step must take one gradient.")
    if arm == "alone":
        gap = schedule.gaps(schedule.steps)[0]
        looks = max(1, (schedule.gradients or 0) // gap)
        result, marks = alone(descent, schedule.gradients or 0, looks), []
    else:
        rounds = Catalyst(proposer(made, arm, cell), schedule, candidates, on_error="raise")
        state = rounds.init(descent)
        marks = [_mark(state)]
        for _ in range(schedule.rounds):
            state = rounds.step(descent, state)
            marks.append(_mark(state))
        result = rounds.finish(descent, state)
    history = result.history
    marks.append(_mark(result.state))
    texts = [text for made in history.rounds for text in made.proposals]
    return {
        "arm": arm,
        "loss": history.best.loss,
        "who": history.best.who,
        "alone": history.alone,
        "test": None if made.test is None else _finite(made.test(result.params)),
        "gradients": history.counts.gradients,
        "budget": schedule.gradients,
        "evaluations": history.counts.evaluations,
        "nonfinite": history.counts.nonfinite,
        "marks": marks,
        "looks": [list(look) for look in history.gradients],
        "texts": len(texts),
        "unreadable": sum(len(made.unreadable) for made in history.rounds),
        "adopted": sum(made.adopted is not None for made in history.rounds),
        "said": [_said(made) for made in history.rounds],
        "used": dataclasses.asdict(history.counts.used),
        "digest": digest(history),
    }


def _mark(state: State) -> list[float | None]:
    """Gradients so far, the lowest loss, and the lowest one of gradients alone."""
    return [state.counts.gradients, state.best.loss, state.history().alone]


def _said(made: Round) -> list[list[Any]]:
    """The texts of a round, their losses at the start and at their last step, and which one led."""
    tried = {own.text: own.losses for own in made.contenders if own.who == "proposal"}
    ends = lambda losses: [losses[0], losses[-1]] if losses else [None, None]
    return [[text, *ends(tried.get(text)), text == made.adopted] for text in made.proposals]


def digest(history: History) -> str:
    """The SHA-256 of all that happened, to the last bit."""
    said = json.dumps(dataclasses.asdict(history), sort_keys=True, allow_nan=False)
    return hashlib.sha256(said.encode("ascii")).hexdigest()


def _finite(x: float) -> float | None:
    return x if math.isfinite(x) else None


def proposer(made: Problem, arm: str, cell: Cell) -> AbstractProposer:
    """The one that writes the texts of an arm."""
    seed = cell["seed"]
    if arm in ASKED:
        return model(made, cell, shuffled=seed if arm == "llm-shuffled" else None)
    if arm == "echo":
        return Echo()
    if arm == "random":
        return RandomRestart(made.codec, seed)
    return Scripted(drawn(made.good if arm == "good" else made.bad, seed))


def drawn(texts: Texts, seed: int):
    """A script of texts that are drawn anew for each question."""

    def script(pool: Pool, n: int) -> list[str]:
        rng = np.random.default_rng([seed, pool.asked, 7])
        return [texts(rng) for _ in range(n)]

    return script


def model(made: Problem, cell: Cell, shuffled: int | None) -> LLM:
    """A language model, or the answers that it gave."""
    server: AbstractClient = ScriptedClient([], cell["model"])  # of whom nothing is asked
    url, mode = cell.get("base_url"), "replay"
    if url:
        http = HTTPClient(url, cell["model"], key=cell.get("key_env"), deadline=PATIENCE)
        server, mode = Breaker(http), "use"
    client = CachedClient(server, cell.get("answers") or ANSWERS, mode)
    return LLM(
        client,
        made.instruction,
        made.codec,
        temperature=HEAT,
        max_tokens=TOKENS,
        seed=1000 * cell["seed"],
        repairs=1,
        shuffled=shuffled,
    )


def conclude(settings: Catalysed, rows: Sequence[Row]) -> Conclusion:
    found = summary.records_of(rows)
    missing = [words for name in settings.problems if (words := absent(name, settings))]
    missing = list(dict.fromkeys(missing))
    if set(settings.arms) & set(ASKED):
        mute = [name for name in settings.problems if silent(name, settings)]
        words = "no answers of a model are here, and no server was named (`base_url`, `answers`)."
        missing += [f"on {', '.join(mute)}: {words}"] if mute else []
    said = concluded(EXPECTATIONS, summary.quantities(found), summary.tables(found))
    answers = [*summary.answers(found), summary.promised(found)]
    text = "\n\n".join([*answers, said.text, *(f"Left out: {words}" for words in missing)])
    write = lambda path: page.write(settings, rows, found, said.verdicts, path)
    return dataclasses.replace(
        said,
        text=text,
        content={**said.content, "answers": answers, "records": found},
        files={"report.html": write},
    )


def cost(settings: Catalysed) -> str:
    return "hours" if settings.factor > 1 else ""


STUDY = Study(cells, f"{__name__}:run", conclude, cost, keep_programs=True)
