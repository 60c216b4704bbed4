"""`steppe catalyst`: numbers tuned by gradients and a proposer in turn, with two rivals beside."""

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..core.settings import check, setting
from ..runs.folder import MODEL, BadInput, new_files, write_json
from ..runs.subject import Subject, check_rate, prepare, subject
from ..runs.subject import check as known
from ..tasks.names import TASKS
from ..zoo.recipe import SEEDS, Recipe
from .parse import document, make, speaker
from .train import line_of

if TYPE_CHECKING:
    from ..prompt.alternation import Alternation
    from ..prompt.state import Result
    from ..runs.alternation import Tunable
    from ..runs.asking import Asking

UNNAMED = "default"  # the model, where a server has but one
RECORD, PAGE, TALK = "catalyst.json", "catalyst.html", "transcript.jsonl"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Catalyst:
    """Tune the numbers of a problem, or settings of a recipe, by gradients and a proposer in turn.

    A language model, chance, or a script is shown what was tried and how good it was, and says
    where else to begin; what it says is kept only where it is better than going on. Gradients
    alone and restarts at random get as many gradients, and are compared at the end.
    """

    task: str = setting(
        dataclasses.MISSING,
        "task whose parameters are tuned: 64 numbers at most, e.g. rastrigin-shifted, or a soft "
        "prompt, newsgroups-prompt; that of the meta-training with --recipe; with --encoder a file "
        "of labelled texts: .csv, .tsv, .jsonl, .tab",
        positional=True,
    )
    opt: str = setting(
        "adam", "optimizer of the gradient steps, by its name or file, see `steppe list optimizers`"
    )
    lr: float | None = setting(
        None, "learning rate of a hand-made optimizer (default: tuned)", above=0
    )
    recipe: str | None = setting(
        None,
        "published recipe, or optimizer to train, whose settings are tuned in the place of the "
        "task's parameters, e.g. twin; see `steppe list presets`",
    )
    tune: tuple[str, ...] = setting(
        (),
        "settings of --recipe that may change, e.g. meta-lr=1e-4:0.1:log,objective.transform",
        metavar="NAME=LOW:HIGH",
    )
    given: tuple[str, ...] = setting(
        (), "other settings of --recipe, e.g. horizon=20,unroll=5", metavar="NAME=VALUE"
    )
    encoder: Path | None = setting(
        None,
        "folder of a BERT or RoBERTa, in front of whose texts a soft prompt is tuned (default for "
        "newsgroups-prompt: that of `steppe fetch minilm newsgroups`)",
    )
    words: int = setting(8, "rows of the prompt", least=1, most=512)
    length: int = setting(32, "tokens of a text, the first ones", least=1)
    sizes: tuple[int, ...] = setting(
        (128, 256, 256), "texts to train on, to choose by, and to test on", least=1
    )
    bounds: tuple[float, ...] | None = setting(
        None,
        "lowest and highest number that may be proposed, e.g. -5,5 (default: what starts of the "
        "task span)",
    )
    about: str | None = setting(
        None, "sentence for a language model that says what is sought", metavar="TEXT"
    )
    rounds: int = setting(3, "questions to the proposer", least=0, most=10_000)
    steps: int = setting(50, "gradient steps before each question, and after the last", least=1)
    snapshots: int | None = setting(
        None,
        "points on the way of each stage that are scored, and told as texts (default: 10, or 3 of "
        "a soft prompt: to score one there costs as much as about ten steps)",
        least=1,
        most=10_000,
    )
    candidates: int = setting(3, "proposals that are asked for at once", least=1, most=1000)
    probation: int | None = setting(
        None, "steps after which proposals are decided on (default: a quarter of --steps)", least=0
    )
    gradients: int | None = setting(
        None, "most gradients of each way of tuning (default: what all rounds need)", least=1
    )
    proposer: Literal["llm", "random", "scripted", "echo"] | None = setting(
        None,
        "proposer: a language model, chance, a script, or the best texts once more (default: "
        "llm with --base-url, scripted with --script, else random)",
    )
    script: Path | None = setting(
        None, 'JSON file of texts, a list for each question, e.g. [["x1 = 0, x2 = 0"]]'
    )
    base_url: str | None = setting(
        None,
        "server of a language model, with OpenAI's chat protocol (default for --proposer llm: "
        "http://localhost:8080)",
        metavar="URL",
    )
    serve: bool = setting(
        False,
        "start a small language model on this machine for the time of the run; it is that of "
        "`steppe fetch xllamacpp smollm2`",
    )
    model: str = setting(UNNAMED, "model to ask the server for")
    key_env: str | None = setting(
        None, "name of the environment variable that holds the server's key"
    )
    cache: Path | None = setting(
        None,
        "folder that answers and scores are kept in, and taken from, so that a run that was broken "
        "off goes on",
    )
    cache_mode: Literal["use", "refresh", "replay", "off"] = setting(
        "use",
        "use what is in the cache, ask anew, or replay: no server is asked, and an answer that is "
        "missing is an error",
    )
    calls: int | None = setting(None, "most questions to the server", least=0)
    tokens: int | None = setting(None, "most tokens of answers", least=0)
    prompt_tokens: int | None = setting(None, "most tokens of questions", least=0)
    seconds: float | None = setting(None, "most seconds of waiting for answers", least=0)
    cost: float | None = setting(None, "most money for answers, in the currency of --price")
    price: tuple[float, ...] | None = setting(
        None, "price of a million tokens of questions and of answers, e.g. 0.15,0.6", least=0
    )
    deadline: float = setting(600.0, "seconds for all tries of one question together", above=0)
    temperature: float = setting(
        0.8, "temperature of a model: 0 for its likeliest answers", least=0
    )
    max_tokens: int = setting(200, "most tokens of one answer", least=1)
    out: Path | None = setting(
        None, f"folder for {RECORD}, {TALK}, {PAGE} and what was trained (default: none)"
    )
    seed: int = setting(0, "seed of everything random", least=0, most=SEEDS - 1)
    cores: int | None = setting(None, "processor cores to use", least=1, nothing="all")
    json: bool = setting(False, "print the result as one JSON document")
    quiet: bool = setting(False, "print the result only")

    def __post_init__(self):
        check(self)
        for name in ("bounds", "price"):
            pair = getattr(self, name)
            if pair is not None and len(pair) != 2:
                raise ValueError(f"`{name}` must be two numbers, got {len(pair)}.")
        if self.bounds is not None and not self.bounds[0] < self.bounds[1]:
            raise ValueError(
                f"`bounds` must be a lower number and a higher one, got {self.bounds[0]:g} and "
                f"{self.bounds[1]:g}."
            )
        if self.cost is not None and self.price is None:
            raise ValueError("`cost` needs prices; add `price`, e.g. --price 0.15,0.6.")
        if bool(self.tune) is (self.recipe is None):
            raise ValueError("`recipe` and `tune` go together: give both, or neither of them.")
        if self.tells_texts and (self.recipe or self.bounds or len(self.sizes) != 3):
            raise ValueError(
                "A prompt in front of texts takes three `sizes` and no `recipe` or `bounds`."
            )
        if self.serve and (self.base_url is not None or self.script is not None):
            raise ValueError("`serve` starts a server; leave `base_url` and `script` out.")
        if self.serve and self.proposer not in (None, "llm"):
            raise ValueError(
                f"`serve` is for a language model, but `proposer {self.proposer}` is none; leave "
                "one of them out."
            )
        if self.base_url is not None and self.proposer not in (None, "llm"):
            raise ValueError(
                f"`base_url` is for a language model, but `proposer {self.proposer}` is none; "
                "leave one of them out."
            )

    @property
    def named(self) -> bool:
        """True for the name of a task on texts."""
        return self.task in TASKS and TASKS[self.task].family == "texts"

    @property
    def tells_texts(self) -> bool:
        """True if a soft prompt in front of texts is tuned."""
        return self.encoder is not None or (self.named and self.recipe is None)


def run(values: dict) -> int:
    options = make(Catalyst, values)
    if options.encoder is None:
        known(options.task, TASKS, "task")
    idle = sorted({"opt", "lr", "bounds"} & set(values)) if options.recipe else []
    idle += sorted({"given"} & set(values)) if not options.recipe else []
    silent = [] if options.tells_texts else sorted({"words", "length", "sizes"} & set(values))
    if silent:
        raise BadInput(f"`{silent[0]}` is about a prompt in front of texts; add `encoder`.")
    if idle:
        word = "is for a task's own numbers" if options.recipe else "is about a `recipe`"
        raise BadInput(f"`{idle[0]}` {word}; leave it out.")
    how = None
    if options.recipe is not None:
        from ..runs.knobs import recipe_of

        how = recipe_of(options.recipe, options.task, options.given)
    # A file is no name of a task: any one lets the optimizer be looked up.
    about = subject(options.opt, next(iter(TASKS)) if options.tells_texts else options.task)
    check_rate(about, options.lr)
    say = speaker(options.quiet)
    with new_files(options.out, (RECORD, TALK, PAGE, MODEL)), served(options, say) as url:
        asking = who(options, url)
        goes = about.name if how is None else f"meta-training of {how.optimizer.name}"
        say(f"steppe catalyst · {options.task} · {goes} and {asking.proposer} in turn")
        result, found = tuned(options, asking, how or about, say)
        if options.out is not None:
            write(options, found, options.out)
            if how is not None:
                save_optimizer(options.out / MODEL, result)
    if found.catalyst.history.counts.failures:
        warnings.warn(" ".join(found.catalyst.history.notes), stacklevel=1)
    if options.json:
        document(dataclasses.asdict(found) | {"verdict": found.verdict, "price": found.price})
    else:
        print(text(found))
        if options.out is not None:
            print(f"\n{options.out / PAGE}")
    return 0


@contextlib.contextmanager
def served(options: Catalyst, say: Callable[[str], None]) -> Iterator[str | None]:
    """The address of the server to ask: that given, or one of ours that runs meanwhile."""
    if not options.serve or options.cache_mode == "replay":
        yield options.base_url
        return
    from ..prompt.local import serve

    with serve(threads=options.cores) as server:
        say(f"{server.model} answers at {server.base_url}")
        yield server.base_url


def who(options: Catalyst, url: str | None) -> "Asking":
    """The proposer and its limits; what cannot be is refused before anything is computed.

    - `url`: the server to ask
    """
    from ..prompt.budget import Budget
    from ..prompt.local import NAME
    from ..prompt.secret import Secret
    from ..prompt.wire import Address
    from ..runs.asking import Asking, usual

    Secret(options.key_env)
    if url is not None:
        Address.of(url)
    usually = "llm" if options.serve else usual(url, options.script, options.cache_mode)
    return Asking(
        proposer=options.proposer or usually,
        script=options.script,
        base_url=url,
        model=NAME if options.serve and options.model == UNNAMED else options.model,
        key=options.key_env,
        cache=options.cache,
        mode=options.cache_mode,
        budget=Budget(
            calls=options.calls,
            prompt_tokens=options.prompt_tokens,
            completion_tokens=options.tokens,
            seconds=options.seconds,
            cost=options.cost,
            price=None if options.price is None else (options.price[0], options.price[1]),
        ),
        deadline=options.deadline,
        temperature=options.temperature,
        max_tokens=options.max_tokens,
        seed=options.seed,
    )


def tuned(
    options: Catalyst, asking: "Asking", about: Subject | Recipe, say: Callable[[str], None]
) -> "tuple[Result, Alternation]":
    """The result and the record; JAX starts here."""
    from ..train.mesh import use_cores

    use_cores(options.cores)
    from ..prompt.cache import ReplayError
    from ..prompt.state import Alternate
    from ..prompt.transcript import Transcript
    from ..runs.alternation import alternate

    schedule = Alternate(
        rounds=options.rounds,
        steps=options.steps,
        snapshots=options.snapshots or (3 if options.tells_texts else 10),
        probation=options.probation,
        gradients=options.gradients,
    )
    try:
        tunable = problem(options, about, say)
        talk = None if options.out is None else Transcript(options.out / TALK)
        return alternate(
            tunable,
            asking.made(tunable.codec, tunable.instruction, talk),
            schedule,
            proposer=asking.proposer,
            candidates=options.candidates,
            seed=options.seed,
            transcript=talk,
            kept=options.cache if options.cache_mode == "use" else None,
            say=say,
        )
    except (TypeError, ReplayError) as error:  # a task without the structure; no such answer
        raise BadInput(str(error)) from None


def problem(options: Catalyst, about: Subject | Recipe, say: Callable[[str], None]) -> "Tunable":
    """The numbers of a task, the settings of a recipe, or a prompt in front of texts."""
    import jax

    from ..runs.alternation import check_few, numbers, settings
    from ..runs.knobs import knob

    if isinstance(about, Recipe):
        knobs = [knob(said) for said in options.tune]
        return settings(about, knobs, about=options.about, seed=options.seed)
    key = jax.random.fold_in(jax.random.key(options.seed), 1)
    ready = lambda task: (
        prepare(about.optimizer, task, horizon=options.steps, lr=options.lr, key=key, say=say).opt
    )
    how = {"about": options.about, "optimizer": about.name, "seed": options.seed}
    if options.tells_texts:
        from ..runs.soft_prompt import prompt, prompt_task

        task, encoder = prompt_task(
            options.task,
            options.encoder,
            rows=options.words,
            sizes=options.sizes,
            length=options.length,
            seed=options.seed,
        )
        name = Path(options.task).name[:100]
        return prompt(task, encoder, ready(task), labels=task.texts.names, name=name, **how)
    task = about.build_task()
    check_few(task, options.task)  # before a rate is tuned
    bounds = None if options.bounds is None else (options.bounds[0], options.bounds[1])
    return numbers(task, ready(task), bounds=bounds, name=options.task, **how)


def save_optimizer(path: Path, result: "Result") -> None:
    """The optimizer with the lowest validation loss, and the recipe that it was trained by."""
    from ..zoo.io import save
    from ..zoo.recipe_json import to_json

    save(path, result.params.opt, **to_json(result.params.recipe), valid_loss=result.loss)


def write(options: Catalyst, found: "Alternation", out: Path) -> None:
    """The record and the page."""
    from ..report.alternation import write_alternation_page

    write_json(out / RECORD, dataclasses.asdict(found) | {"verdict": found.verdict})
    command = line_of(options, "catalyst", ("json", "quiet", "cores", "key_env"))
    write_alternation_page(out / PAGE, found, command=command)


def text(found: "Alternation") -> str:
    """The verdict, a line for each way of tuning, what was adopted when, and the price."""
    from ..evaluation.compare import figure
    from ..report.alternation import shown

    wide = max(map(len, found.ways)) + 2
    lines = [found.verdict, found.price, "", f"  {'':<{wide}}lowest loss   gradients   adopted"]
    for name, way in found.ways.items():
        counts, rounds = way.history.counts, way.history.rounds
        adopted = sum(made.adopted is not None for made in rounds)
        gradients = "–" if counts.gradients is None else f"{counts.gradients:,}"
        lines.append(f"  {name:<{wide}}{figure(way.loss):>11}{gradients:>12}{adopted:>10}")
    made = [made for made in found.catalyst.history.rounds if made.adopted is not None]
    lines += [""] if made else []
    lines += [f"  adopted at step {made.step:,}: {shown(made.adopted or '', 120)}" for made in made]
    lines += ["", "  " + ", ".join(f"{name} = {x}" for name, x in list(found.found.items())[:8])]
    notes = [shown(note) for note in found.catalyst.history.notes]
    return "\n".join([*lines, *([""] if notes else []), *notes])
