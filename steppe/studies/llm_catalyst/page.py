"""The page of the study: the answer, what was expected, a picture and a table for each problem."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ...evaluation.engines import Row
from ...evaluation.stats import interval
from ...report.plots import styles
from ..page import SHOWN, Curve, Section, facts, picture, write_study_page
from ..study import Record, Verdict
from . import summary
from .settings import MODEL, SCALES, SUPERGLUE, Catalysed

TITLE = "Gradients and a language model in turn: does it help more than chance?"
ABOUT = {
    "numbers": "A shifted Rastrigin function of two numbers, by gradient descent.",
    "words": "A soft prompt of four words in front of made-up texts, by Adam.",
    "settings": "The rate of a meta-training, which begins too low; texts say how to go on.",
    "newsgroups": "A soft prompt in front of posts of four newsgroups and MiniLM, by Adam.",
    **{
        name: f"A soft prompt for {full} of SuperGLUE, by Adam." for name, full in SUPERGLUE.items()
    },
}
WROTE = ("text", "by", "question", "loss where it begins", "after its trial", "adopted")


def write(
    settings: Catalysed,
    rows: Sequence[Row],
    found: Sequence[Record],
    verdicts: Sequence[Verdict],
    path: Path,
) -> None:
    """Write the page."""
    sections = [
        Section(
            "Proposer by proposer", " ".join([*summary.answers(found), summary.promised(found)])
        )
    ]
    for problem, runs in summary.by_problem(found).items():
        sections.append(_section(problem, runs))
        if written := summary.wrote(found, problem):
            about = "Of the first start; a text without a loss could not be read."
            sections.append(Section(f"{problem}: what a model wrote", about, WROTE, written))
    sections.append(Section("What it cost", "Answers of a model.", COST, costs(found)))
    write_study_page(
        path,
        title=TITLE,
        answer=summary.lead(found),
        verdicts=verdicts,
        sections=[section for section in sections if section.text or section.rows],
        command=command(settings),
        facts=facts(rows),
    )


def _section(problem: str, runs: summary.Runs) -> Section:
    curves = [curve for by in runs if (curve := _curve(runs, by))]
    style = styles([curve.name for curve in curves[:SHOWN]])
    drawn = picture(
        curves,
        style,
        name=f"lowest loss of {problem} by gradients",
        x="gradients so far, of all lanes",
        y="lowest loss so far, mean",
    )
    text = f"{ABOUT[problem]} Each run has the same number of gradients."
    caption = "Mean over seeds of the lowest loss so far: at each question, and at the end."
    rows = summary.table_rows(runs)
    return Section(problem, text, summary.HEAD, rows, {caption: drawn}, style)


def _curve(runs: summary.Runs, by: str) -> Curve | None:
    """The mean of the lowest loss; of gradients alone at each look, of others at each mark."""
    of = list(runs[by].values())
    if by == "alone":
        ways = [_falling(record["looks"]) for record in of]
    else:
        ways = [[mark[:2] for mark in record["marks"]] for record in of]
    if len({len(way) for way in ways}) != 1:
        return None
    points = list(zip(*ways, strict=True))
    x = [interval([p[0] for p in point]).mean or 0.0 for point in points]
    y = [interval([p[1] for p in point]).mean for point in points]
    return Curve(summary.NAMES.get(by, by), x, y)


def _falling(looks: Sequence[Sequence[float | None]]) -> list[list[float | None]]:
    """The lowest loss up to each look."""
    lowest, found = None, []
    for step, loss in looks:
        if loss is not None and (lowest is None or loss < lowest):
            lowest = loss
        found.append([step, lowest])
    return found


COST = ("model", "problem", "questions", "tokens of questions", "tokens of answers")


def costs(found: Sequence[Record]) -> list[list[str]]:
    """Questions and tokens of each model."""
    rows = []
    for problem, runs in summary.by_problem(found).items():
        for by, of in runs.items():
            if any(record["used"]["calls"] for record in of.values()):
                total = lambda name, of=of: sum(record["used"][name] for record in of.values())
                numbers = (total("calls"), total("prompt_tokens"), total("completion_tokens"))
                rows.append([summary.NAMES.get(by, by), problem, *(f"{x:,}" for x in numbers)])
    return rows


def command(settings: Catalysed) -> str:
    """The line that does the run again."""
    plain = dataclasses.replace(
        settings, base_url="", answers="", model=MODEL, key_env="", superglue="", encoder=""
    )
    scale = next((name for name, sizes in SCALES.items() if sizes == plain), "small")
    words = [f"steppe reproduce llm-catalyst --scale {scale}"]
    for flag in ("superglue", "encoder", "answers", "base_url", "model", "key_env"):
        value = getattr(settings, flag)
        if value and value != MODEL:
            words.append(f"--{flag.replace('_', '-')} {value}")
    return " ".join(words)
