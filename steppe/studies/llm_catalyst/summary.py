"""The contents of the records: numbers by name, tables, and an answer in words for each proposer.

A record is one run. Losses are the lowest on held-out data; differences are taken seed by seed,
with 95 % intervals by Student's t, and nothing is said by fewer than five seeds.
"""

from collections.abc import Iterable, Sequence

from ...evaluation.engines import Row
from ...evaluation.stats import Paired, interval, paired
from ..study import Record, markdown, records
from .settings import ASKED, MODEL, PROBLEMS

FEWEST = 5  # seeds by which anything is said
NAMES = {
    "alone": "gradients alone",
    "random": "chance",
    "good": "a script that knows",
    "bad": "a script that misleads",
    "echo": "an echo of the best",
    "llm": "SmolLM2-135M",
    "llm-shuffled": "SmolLM2-135M, scores shuffled",
}
SAID = {"better": "helps more", "worse": "helps less", "no difference seen": "no difference"}

RIVALS = {"random": "", "alone": ".alone", "llm-shuffled": ".shuffled"}  # in names of quantities

Runs = dict[str, dict[int, Record]]  # of one problem: proposer → seed → record


def records_of(rows: Iterable[Row]) -> list[Record]:
    """The runs with the name of their proposer as `by`; models other than ours by their own."""
    found = records(rows)
    for record in found:
        arm, name = record["arm"], record.get("model", MODEL)
        record["by"] = arm if arm not in ASKED or name == MODEL else f"{name} ({arm})"
    return found


def by_problem(found: Sequence[Record]) -> dict[str, Runs]:
    """Runs by problem, proposer and seed, in the order of the tables."""
    made: dict[str, Runs] = {name: {} for name in PROBLEMS}
    order = {by: i for i, by in enumerate(NAMES)}
    for record in sorted(found, key=lambda r: (order.get(r["by"], len(order)), r["seed"])):
        made[record["problem"]].setdefault(record["by"], {})[record["seed"]] = record
    return {name: runs for name, runs in made.items() if runs}


def compared(runs: Runs, by: str, rival: str) -> Paired | None:
    """Lowest losses minus those of a rival; None where there are fewer than five seeds of both."""
    seeds = sorted(set(runs.get(by, {})) & set(runs.get(rival, {})))
    if len(seeds) < FEWEST or by == rival:
        return None
    return paired(*([runs[who][seed]["loss"] for seed in seeds] for who in (by, rival)))


def quantities(found: Sequence[Record]) -> dict[str, float]:
    """Numbers by name.

    - "problem.proposer.low", "mean", "high": minus chance, paired; "problem.proposer.alone.low" …:
      minus gradients alone with as many gradients; "….shuffled.low" …: minus SmolLM2-135M that is
      shown shuffled scores
    - "problem.worse": runs that were above their gradients alone at a question or at the end
    - "problem.moved": looks at gradients alone, beside proposals, that are not those without them
    - "problem.unequal": runs that took another number of gradients than the others
    """
    known: dict[str, float] = {}
    for problem, runs in by_problem(found).items():
        for by in runs:
            for rival, part in RIVALS.items():
                if said := compared(runs, by, rival):
                    ends = said.difference
                    numbers = {"low": ends.low, "mean": ends.mean, "high": ends.high}
                    name = f"{problem}.{by}{part}"
                    known |= {f"{name}.{k}": x for k, x in numbers.items() if x is not None}
        every = [record for of in runs.values() for record in of.values()]
        known[f"{problem}.worse"] = sum(map(is_worse, every))
        known[f"{problem}.unequal"] = sum(r["gradients"] != r["budget"] for r in every)
        known[f"{problem}.moved"] = sum(moved(runs, record) for record in every)
    return known


def is_worse(record: Record) -> bool:
    """True if the lowest loss was above that of gradients alone at any mark."""
    pairs = [mark[1:] for mark in record["marks"]] + [[record["loss"], record["alone"]]]
    return any(alone is not None and (best is None or best > alone) for best, alone in pairs)


def moved(runs: Runs, record: Record) -> int:
    """Looks at the lane of gradients alone that differ from those of the run without proposals."""
    without = runs.get("alone", {}).get(record["seed"])
    if without is None or record is without:
        return 0
    known = dict(without["looks"])
    return sum(loss != known[step] for step, loss in record["looks"] if step in known)


HEAD = (
    "proposer", "seeds", "lowest loss", "minus chance [95 %]", "said",
    "minus gradients alone [95 %]", "on test data", "adopted", "texts", "unreadable",
)  # fmt: skip


def tables(found: Sequence[Record]) -> list[str]:
    """A table for each problem."""
    made = []
    for problem, runs in by_problem(found).items():
        first = next(iter(next(iter(runs.values())).values()))
        about = f"{problem}: {first['budget']} gradients for each run"
        made.append(f"{about}\n\n{markdown(HEAD, table_rows(runs))}")
    return made


def table_rows(runs: Runs) -> list[list[str]]:
    return [_line(runs, by) for by in runs]


def _line(runs: Runs, by: str) -> list[str]:
    of = list(runs[by].values())
    tests = interval([record["test"] for record in of]).mean
    total = lambda name: sum(record[name] for record in of)
    asked = by != "alone"
    said = compared(runs, by, "random")
    return [
        NAMES.get(by, by),
        str(len(of)),
        _three(interval([record["loss"] for record in of]).mean),
        ends(said),
        SAID[said.verdict] if said else "–",
        ends(compared(runs, by, "alone")),
        _three(tests),
        f"{total('adopted')} of {sum(len(record['said']) for record in of)}" if asked else "–",
        str(total("texts")) if asked else "–",
        str(total("unreadable")) if asked else "–",
    ]


def ends(said: Paired | None) -> str:
    """A mean difference with its interval."""
    if said is None or said.difference.mean is None:
        return "–"
    d = said.difference
    bounds = f" [{d.low:+.3g}, {d.high:+.3g}]" if d.low is not None else ""
    return f"{d.mean:+.3g}{bounds}"


def _three(x: float | None) -> str:
    return "–" if x is None else f"{x:.3g}"


def promised(found: Sequence[Record]) -> str:
    """A sentence: was what is promised kept in every run?"""
    runs = by_problem(found).values()
    every = [(of, r) for of in runs for by in of if by != "alone" for r in of[by].values()]
    looks = sum(len(r["looks"]) for _, r in every)
    return (
        f"Of {len(every)} runs with proposals, {sum(is_worse(r) for _, r in every)} were above "
        f"gradients alone in as many steps; of {looks:,} looks at gradients alone beside "
        f"proposals, {sum(moved(of, r) for of, r in every)} were not those without any."
    )


def answers(found: Sequence[Record]) -> list[str]:
    """A sentence for each proposer: whether it helped more than chance, problem by problem."""
    made = by_problem(found)
    proposers = dict.fromkeys(by for runs in made.values() for by in runs)
    asked = [by for by in proposers if by not in ("alone", "random")]
    first = [by for by in asked if by.startswith("llm") or by not in NAMES]
    said = [answer(made, by) for by in [*first, *(by for by in asked if by not in first)]]
    return [sentence for sentence in said if sentence]


def answer(made: dict[str, Runs], by: str) -> str:
    """A sentence: did a proposer help more than chance? "" where there are too few seeds."""
    said = {name: compared(runs, by, "random") for name, runs in made.items()}
    known = {name: found for name, found in said.items() if found is not None}
    if not known:
        return ""
    groups: dict[str, list[str]] = {"better": [], "no difference seen": [], "worse": []}
    for name, found in known.items():
        groups[found.verdict].append(f"{name} ({ends(found)})")
    parts = [f"{SAID[word]} on {', '.join(names)}" for word, names in groups.items() if names]
    return f"{_capital(NAMES.get(by, by))}, beside chance: {'; '.join(parts)}."


def lead(found: Sequence[Record]) -> str:
    """The first lines of the page."""
    made = by_problem(found)
    proposers = list(dict.fromkeys(by for runs in made.values() for by in runs))
    said = {
        by: {name: known.verdict for name, runs in made.items()
             if (known := compared(runs, by, "random"))}
        for by in proposers
    }  # fmt: skip
    if not any(said.values()):
        return f"Too few seeds to say anything: {FEWEST} are needed."
    models = [by for by in proposers if (by not in NAMES or by.startswith("llm")) and said[by]]
    parts = [] if models else ["No language model was judged."]
    for by in [*models, *(["good"] if said.get("good") else [])]:
        where = lambda word, by=by: ", ".join(n for n, found in said[by].items() if found == word)
        most, least = where("better"), where("worse")
        parts.append(
            f"{_capital(NAMES.get(by, by))} helped more than chance on {most or 'no problem'}"
            f"{f', and less on {least}' if least else ''} ({len(said[by])} tried)."
        )
    return " ".join(parts)


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def wrote(found: Sequence[Record], problem: str) -> list[list[str]]:
    """The texts of a model on its first seed, with their losses, as `page.WROTE` has them."""
    rows = []
    for by, of in by_problem(found).get(problem, {}).items():
        if by.startswith("llm") or by not in NAMES:
            for k, round_said in enumerate(of[min(of)]["said"]):
                for text, begin, end, adopted in round_said:
                    rows.append([text, NAMES.get(by, by), str(k + 1), _three(begin), _three(end),
                                 "yes" if adopted else "no"])  # fmt: skip
    return rows
