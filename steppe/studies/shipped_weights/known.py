"""Sentences on the card of a shipped optimizer, from the records of studies that looked at it.

what it is                  from its own card
what its recipe is worth    from `studies/flatness/small.jsonl`, twelve meta-seeds
what another recipe said    from `studies/flatness_2/small.jsonl`, of RNNProp
how it does elsewhere       from `studies/shipped_weights/cifar10.jsonl`
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ...evaluation.compare import figure
from ...runs.folder import BadInput
from ...zoo.io import Card, card, write_card
from ..flatness.design import FLAT, NONE
from ..flatness.findings import Findings, findings
from ..flatness.lines import Line, pick
from ..flatness.scales import SMALL
from ..flatness.summary import change, label
from ..flatness_2 import scales as again
from ..flatness_2.claims import OTHER_DATA, Claim, Word, results
from ..flatness_2.design import MAIN
from ..flatness_2.outcome import judged, looked
from ..flatness_2.outcome import said as word_of
from ..study import Record, read, records
from .settings import MUCH, ONE_LOOK, UNKNOWN

FLATNESS = Path(__file__).parents[1] / "flatness" / "small.jsonl"
AGAIN = Path(__file__).parents[1] / "flatness_2" / "small.jsonl"
AUDIT = Path(__file__).with_name("cifar10_audit.jsonl")
METRICS = ("ln test_loss", "test_accuracy")


def release(path: Path, name: str, elsewhere: Sequence[Record]) -> None:
    """Write a shipped optimizer as it is, with what the records say of it on its card."""
    for file in (FLATNESS, AGAIN, AUDIT):
        if not file.is_file():
            raise BadInput(
                f"What is known of {name} goes by the record {file}, which comes with a clone of "
                "the repository and not with the wheel; run this from a clone."
            )
    looks = [*elsewhere, *records(read(AUDIT))]
    write_card(path, name, informed(card(name), study(), second_study(), looks))


@functools.cache
def study() -> Findings:
    return findings(SMALL, read(FLATNESS))


@functools.cache
def second_study() -> tuple[tuple[Claim, Word], ...]:
    """Hypotheses of the second study of flatness, and what each came to."""
    rows = read(AGAIN)
    scale = looked(again.SMALL, rows)
    return tuple(judged(scale, results(scale, rows)))


def informed(
    made: Card,
    found: Findings,
    second: Sequence[tuple[Claim, Word]],
    elsewhere: Sequence[Record],
) -> Card:
    """The card with what is known; `elsewhere`: records of `cifar10`."""
    looks = [seen(made.name, look) for look in by_source(elsewhere)]
    known = [what_it_is(made), *recipe(made, found), *another_recipe(made, second)]
    known += [said for look in looks for said in look]
    failures = [said for said in made.failures if PLACE not in said]
    if any(record["optimizer"] == made.name for record in elsewhere):
        failures = [said.replace(UNKNOWN, ONE_LOOK) for said in failures]
    misses = [missed(made.name, look) for look in by_source(elsewhere)]
    failures[:0] = next((said for said in misses if said), [])
    return dataclasses.replace(made, known=tuple(known), failures=tuple(failures))


def by_source(elsewhere: Sequence[Record]) -> list[list[Record]]:
    """Records that may be compared: those of one run, and those of one report."""
    looks: dict[str, list[Record]] = {}
    for record in elsewhere:
        looks.setdefault(record.get("source", ""), []).append(record)
    return list(looks.values())


def what_it_is(made: Card) -> str:
    penalty = made.recipe.get("penalty")
    added = "no measure of flatness"
    if penalty is not None:
        added = f"{arm_of(made)} at weight {penalty['weight']:g} in the meta-objective"
    return (
        f"It is meta-trained plainly, without curriculum or imitation, with {added}, from one "
        f"meta-seed; of {made.meta_steps} meta-steps {made.kept_is} is kept."
    )


def arm_of(made: Card) -> str:
    """The arm of the study of flatness that has the card's penalty."""
    penalty = made.recipe.get("penalty", {})
    own = {"kind": penalty.get("kind"), "units": penalty.get("units", "absolute")}
    for arm, how in FLAT.items():
        if own == {"kind": how["kind"], "units": how.get("units", "absolute")}:
            return arm
    return NONE


def family_of(made: Card) -> str:
    return made.name.removesuffix("-v1").removesuffix("-flat")


def recipe(made: Card, found: Findings) -> list[str]:
    """Worth of the recipe over the meta-seeds of the study of flatness."""
    family, seeds = family_of(made), len(SMALL.meta_seeds)
    if family not in SMALL.recipes:
        return []  # a formula
    plain = "-flat" not in made.name
    place = {"optimizer": family, "technique": "plain"}
    place["ours"] = arm = SMALL.flat[family] if plain else arm_of(made)
    both = lambda lines, **more: worth([pick(lines, **place, **more, metric=m) for m in METRICS])
    over = f"Over {seeds} meta-seeds of the study of flatness, on tasks never seen, "
    gain = both(found.generalisation)
    if plain:
        return [f"{over}the same recipe with {arm} less this one: {gain}."]
    said = [
        f"{over}this recipe less the same without {arm}: {gain}. Less a penalty on ‖θ‖²: "
        f"{both(found.control)}. Less Adam tuned for each task: "
        f"{both(found.rivals, theirs='adam')}."
    ]
    later = [x for x in found.post_hoc.recipes if x.optimizer == family and x.technique == "cl"]
    if later:
        better = ", ".join(f"{label(x.metric)} {change(x)}" for x in later)
        said.append(
            f"Better, and not shipped, is {family} with a curriculum and {later[0].ours}: {better} "
            f"less this recipe, over {seeds} meta-seeds; looked at after the numbers were known."
        )
    return said


def another_recipe(made: Card, second: Sequence[tuple[Claim, Word]]) -> list[str]:
    """Outcome of the second study of flatness, which is about RNNProp."""
    if family_of(made) != "rnnprop":
        return []
    told = {
        claim.name: f"{worth([x for x in claim.lines if OTHER_DATA not in x.metric])}; "
        f"{claim.name}, {claim.question}: {word_of(claim, word)}"
        for claim, word in second
        if claim.rule == again.SMALL.rule
    }
    seeds = len(again.SMALL.meta_seeds)
    return [
        "A second study, registered before it ran, asked again with another recipe of rnnprop: "
        f"features of time, a learned weight decay, averaged weights, {seeds} meta-seeds. "
        f"{MAIN} less the same without it, at the validated stop: {told['H1']}. After few steps: "
        f"{told['H7']}. These are means over tasks of two kinds, some far better and some far "
        "worse."
    ]


def worth(lines: Sequence[Line]) -> str:
    """Both numbers, and whether they are beyond chance after Holm's correction."""
    sure = lambda x: "better" if x.better else "worse" if x.lost else "not beyond chance"
    return ", ".join(f"{label(x.metric)} {change(x)} ({sure(x)})" for x in lines)


PLACE = "CIFAR-10 ConvNet"
FITTED = 0.5  # training loss of a network that begins to fit its images; by chance it is ln 10


def seen(name: str, elsewhere: Sequence[Record]) -> list[str]:
    """Words on an optimizer on the ConvNet, beside its twin and AdamW. Few seeds: a hint."""
    own = [record for record in elsewhere if record["optimizer"] == name]
    if not own:
        return []
    mine, first = means(own), own[0]
    rival = f"AdamW at the best of {rates(elsewhere)} constant rates {told(best(elsewhere))}"
    beside = [rival] if rates(elsewhere) else []
    flat = "-flat" in name
    twin = name.replace("-flat", "", 1) if flat else name.replace("-v", "-flat-v")
    other = [record for record in elsewhere if record["optimizer"] == twin]
    if other:
        beside.insert(0, f"its {'plain' if flat else 'flat'} twin {told(means(other))}")
    seeds, source = count(own), first.get("source")
    said = [
        f"{PLACE} of {first['weights']:,} weights, {first['images'][0]:,} images, "
        f"{first['steps']} steps, {seeds} seed{'s' * (seeds > 1)}, nothing tuned (a hint, no "
        f"result{f', reported by {source}' if source else ''}): "
        f"{'; '.join([told(mine), *beside])}."
    ]
    sides = (mine, means(other)) if flat else (means(other), mine)
    return [*said, *regime(*sides)] if other else said


def regime(flat: "Means", plain: "Means") -> list[str]:
    """Words on what flatness pays there, and on whether images were fitted when training ended."""
    if flat.test_loss is None or plain.test_loss is None:
        return []
    early = min(flat.train_loss or 0.0, plain.train_loss or 0.0) > FITTED
    return [
        f"There flatness {'pays' if flat.test_loss < plain.test_loss else 'does not pay'}: the "
        f"training loss is {figure(flat.train_loss)} with it and {figure(plain.train_loss)} "
        f"without it{'; training ends before either network fits its images' * early}."
    ]


def missed(name: str, elsewhere: Sequence[Record]) -> list[str]:
    """The sentence of a failure, if it is one."""
    own, rival = [record for record in elsewhere if record["optimizer"] == name], best(elsewhere)
    if not own or rival.test_loss is None:
        return []
    mine = means(own).test_loss
    if mine is None:
        return [f"{PLACE}: diverges."]
    if mine <= MUCH * rival.test_loss:
        return []
    return [
        f"{PLACE}: its test loss after {own[0]['steps']} steps, {figure(mine)}, is "
        f"{100 * (mine / rival.test_loss - 1):.0f} % above that of AdamW at the best of "
        f"{rates(elsewhere)} constant rates, {figure(rival.test_loss)}."
    ]


class Means(NamedTuple):
    """Over seeds; None where a training diverged."""

    train_loss: float | None
    test_loss: float | None
    test_accuracy: float | None


def means(own: Sequence[Record]) -> Means:
    columns = [[record[metric] for record in own] for metric in Means._fields]
    return Means(*(None if None in x or not x else sum(x) / len(x) for x in columns))


def count(own: Sequence[Record]) -> int:
    """Trainings behind a mean: one a record, unless the record is a mean itself."""
    return sum(record.get("seeds", 1) for record in own)


def best(elsewhere: Sequence[Record]) -> Means:
    """AdamW at the constant rate of the lowest test loss."""
    by: dict[float, list[Record]] = {}
    for record in elsewhere:
        if record.get("schedule") == "constant":
            by.setdefault(record["lr"], []).append(record)
    inf = lambda found: math.inf if found.test_loss is None else found.test_loss
    return min(map(means, by.values()), key=inf, default=Means(None, None, None))


def rates(elsewhere: Sequence[Record]) -> int:
    return len({record["lr"] for record in elsewhere if record.get("schedule") == "constant"})


def told(found: Means) -> str:
    if found.test_loss is None:
        return "diverges"
    return f"test loss {figure(found.test_loss)}, accuracy {figure(found.test_accuracy)}"
