"""The catalyst: gradients and proposals in turn, never worse than gradients alone.

    descent = Descent(task, opt, codec, jax.random.key(0))
    result = Catalyst(LLM(client, Instruction(task="…"), codec)).run(descent)
    print(result.sentence)

A round is a stage of gradient steps, on the way of which points are told as texts and scored, and a
question: the proposer is shown the pool and writes texts. Each readable one begins a lane of its
own, from the same data and with fresh moments, and is put on probation, since a text always starts
above where gradients have come to: all lanes take the same steps, the better half of the proposals
goes on (successive halving), and the last one is adopted if it is then below all others. After the
last question there is one more stage.

Gradients alone are a lane that no proposal touches: it takes the steps it would have taken, bit by
bit, and is a contender at every probation. The incumbent is the best point that was ever scored, so
that its loss is at most that of gradients alone wherever these were looked at: at every call, and
at the end. This holds for any proposals, and where there are none the result is that of gradients
alone. What it costs is counted: the steps of every lane, and every evaluation.

Guo, Zhang, Liu et al., "Two optimizers are better than one: LLM catalyst empowers gradient-based
optimization for prompt tuning", 2024. Departures: the published code adopts the first candidate,
whatever its loss, overwrites the parameters when it scores a text, and keeps stale moments.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

from ..core.arguments import expect_kind, told, whole
from .chat import BudgetError, ChatError, whole_text
from .codecs import CodecError
from .descent import AbstractDescent, Lane, Score
from .history import Best, Contender, Round, Who, plain
from .pool import Pool, Scored, Source
from .proposers import AbstractProposer, Scripted
from .state import Alternate, Result, State
from .transcript import Judged, Transcript

TEXT = 20_000  # characters of a proposal


@dataclasses.dataclass(frozen=True)
class Catalyst:
    """Gradients and a proposer in turn.

    - `candidates`: texts that are asked for at once
    - `on_error`: a proposer that cannot be reached is left out of the round, or raises
    - `transcript`: where each round is written
    - `say`: told of each round in a line
    """

    proposer: AbstractProposer
    schedule: Alternate = dataclasses.field(default_factory=Alternate)
    candidates: int = 3
    on_error: Literal["skip", "raise"] = "skip"
    transcript: Transcript | None = None
    say: Callable[[str], None] = lambda line: None

    def __post_init__(self):
        expect_kind("Catalyst: proposer", self.proposer, AbstractProposer, "a proposer")
        whole("Catalyst: candidates", self.candidates, least=1, most=1000)
        if self.on_error not in ("skip", "raise"):
            raise ValueError(f"Catalyst: on_error must be skip or raise, got {self.on_error!r}.")

    def run(self, descent: AbstractDescent, pool: Pool | None = None) -> Result:
        """All rounds, and the stage after the last.

        - `pool`: texts that were scored before
        """
        state = self.init(descent, pool)
        while len(state.rounds) < self.schedule.rounds:
            if not self._affords(descent, state):
                note = f"From round {len(state.rounds) + 1} on, too few gradients were left."
                state = dataclasses.replace(state, notes=(*state.notes, note))
                break
            state = self.step(descent, state)
        return self.finish(descent, state)

    def init(self, descent: AbstractDescent, pool: Pool | None = None) -> State:
        """The state before the first round."""
        lane = descent.begin()
        state = State(lane, None, lane, Best(None, 0, "gradients"), {}, pool=pool or Pool())
        if descent.gradients_per_step is None:
            counts = dataclasses.replace(state.counts, gradients=None)
            note = "The number of gradients of a step varies, and they are not counted."
            state = dataclasses.replace(state, counts=counts, notes=(note,))
        state, _ = self._look(descent, state, lane, "gradients")
        return self._project(descent, state)

    def step(self, descent: AbstractDescent, state: State) -> State:
        """One round: a stage of gradients, and a question while somebody is asked."""
        state = self._stage(descent, state, self.schedule.steps)
        made = Round(len(state.rounds), state.alone.step)
        if state.asking:
            state, made = self._question(descent, state, made)
        state = dataclasses.replace(state, rounds=(*state.rounds, made))
        if self.transcript is not None:
            self.transcript.write(Judged(round=made, best=state.best.loss))
        self.say(_told(state, made))
        return state

    def finish(self, descent: AbstractDescent, state: State) -> Result:
        """The stage after the last question, and the outcome."""
        limit, each = self.schedule.gradients, descent.gradients_per_step
        if limit is None:
            state = self._stage(descent, state, self.schedule.steps)
        elif state.counts.gradients is not None and each:
            left = max(0, limit - state.counts.gradients) // each
            state = self._stage(descent, _rejoined(state), left, lead_alone=True)
        return Result(descent.params(state.incumbent), state, state.history())

    def _affords(self, descent: AbstractDescent, state: State) -> bool:
        """True if the next round takes no more gradients than are left, whatever happens."""
        limit, used = self.schedule.gradients, state.counts.gradients
        if limit is None or used is None or descent.gradients_per_step is None:
            return True
        most = self.schedule.most(self.candidates, 1 + (state.current is not None))
        return used + most * descent.gradients_per_step <= limit

    def _stage(
        self, descent: AbstractDescent, state: State, steps: int, *, lead_alone: bool = False
    ) -> State:
        """Gradient steps of both lanes, looked at and told as texts on the way."""
        for gap in self.schedule.gaps(steps):
            state, _ = self._advance(descent, state, gap, lead_alone=lead_alone)
            state = self._project(descent, state)
        return state

    def _advance(
        self, descent: AbstractDescent, state: State, steps: int, *, lead_alone: bool = False
    ) -> tuple[State, dict[Who, float]]:
        """Steps of the lane of gradients alone and of the current one, and their losses then."""
        losses: dict[Who, float] = {}
        if state.current is None or not lead_alone:
            alone, state = self._walk(descent, state, state.alone, steps)
            state = dataclasses.replace(state, alone=alone)
            state, score = self._look(descent, state, alone, "gradients")
            losses["gradients"] = _comparable(score)
        if state.current is not None:
            current, state = self._walk(descent, state, state.current, steps)
            state = dataclasses.replace(state, current=current)
            state, score = self._look(descent, state, current, "current", state.origin)
            losses["current"] = _comparable(score)
        return state, losses

    def _walk(
        self, descent: AbstractDescent, state: State, lane: Lane, steps: int
    ) -> tuple[Lane, State]:
        """A lane some steps on, counted."""
        if not steps:
            return lane, state
        counts, each = state.counts, descent.gradients_per_step
        used = None if each is None or counts.gradients is None else counts.gradients + steps * each
        counts = dataclasses.replace(counts, steps=counts.steps + steps, gradients=used)
        return descent.advance(lane, steps), dataclasses.replace(state, counts=counts)

    def _look(
        self, descent: AbstractDescent, state: State, lane: Lane, who: Who, text: str = ""
    ) -> tuple[State, Score]:
        """Score a lane, keep it if it is the best so far, and note it."""
        state, score = self._score(descent, state, lane)
        look, loss = (lane.step, plain(score.loss)), _comparable(score)
        if who == "gradients":
            state = dataclasses.replace(state, gradients=(*state.gradients, look))
        elif who == "current":
            state = dataclasses.replace(state, currents=(*state.currents, look))
        if loss < (math.inf if state.best.loss is None else state.best.loss):
            state = dataclasses.replace(
                state,
                best=Best(loss, lane.step, who, text),
                incumbent=lane,
                metrics=_plain(score),
            )
        return state, score

    def _score(self, descent: AbstractDescent, state: State, lane: Lane) -> tuple[State, Score]:
        """The score of a lane, counted."""
        score, counts = descent.score(lane), state.counts
        odd = counts.nonfinite + (not math.isfinite(score.loss))
        counts = dataclasses.replace(counts, evaluations=counts.evaluations + 1, nonfinite=odd)
        return dataclasses.replace(state, counts=counts), score

    def _project(self, descent: AbstractDescent, state: State) -> State:
        """Tell where the lead is as a text; if it is new, score its point and put it into the pool.

        Such a point is no incumbent: gradients alone would not come there.
        """
        try:
            text = descent.text(state.lead)
            if text in state.pool:
                return state
            if descent.texts_say == "how":
                return _pooled(state, text, Score(_standing(state)), "gradient")
            lane = descent.restart(state.lead, text)
        except CodecError:  # not finite, or of no text
            return state
        state, score = self._score(descent, state, lane)
        return _pooled(state, text, score, "gradient")

    def _question(self, descent: AbstractDescent, state: State, made: Round) -> tuple[State, Round]:
        """Ask for texts, and put those that can be read on probation."""
        state, proposals, error = self._asked(state)
        made = dataclasses.replace(made, proposals=tuple(proposals), error=error)
        lanes, unreadable = [], []
        for text in proposals:
            try:
                lane = descent.restart(state.lead, text)
            except CodecError as fault:
                unreadable.append((text, str(fault)))
                continue
            state, score = self._look(descent, state, lane, "proposal", text)
            if descent.texts_say == "where":
                state = _pooled(state, text, score, "proposal")
            lanes.append(_Challenger(text, lane, [_comparable(score)]))
        made = dataclasses.replace(made, unreadable=tuple(unreadable))
        return self._probation(descent, state, made, lanes) if lanes else (state, made)

    def _asked(self, state: State) -> tuple[State, list[str], str]:
        """The proposals, and the sentence why there are none."""
        before, proposals, error, asking = self.proposer.used, [], "", True
        try:
            proposals = _texts(self.proposer.propose(state.pool, self.candidates), self.candidates)
        except BudgetError as fault:
            error, asking = str(fault), False
        except ChatError as fault:
            if self.on_error == "raise":
                raise
            error = str(fault)
        counts = dataclasses.replace(
            state.counts,
            asked=state.counts.asked + 1,
            failures=state.counts.failures + bool(error),
            used=state.counts.used + (self.proposer.used - before),
        )
        pool = dataclasses.replace(state.pool, asked=state.pool.asked + 1)
        end = "" if asking else " Gradients go on alone."
        known = error and error not in " ".join(state.notes)
        notes = (*state.notes, error + end) if known else state.notes
        return (
            dataclasses.replace(state, counts=counts, pool=pool, notes=notes, asking=asking),
            proposals,
            error,
        )

    def _probation(
        self,
        descent: AbstractDescent,
        state: State,
        made: Round,
        lanes: "list[_Challenger]",
    ) -> tuple[State, Round]:
        """Let all take the same steps, and adopt the last proposal if it is below all others."""
        tried, losses = list(lanes), _latest(state)
        mains: dict[Who, list[float]] = {who: [loss] for who, loss in losses.items()}
        for rung in self.schedule.rungs(len(lanes)):
            state, losses = self._advance(descent, state, rung)
            for who, loss in losses.items():
                mains[who].append(loss)
            for own in lanes:
                own.lane, state = self._walk(descent, state, own.lane, rung)
                state, score = self._look(descent, state, own.lane, "proposal", own.text)
                own.losses.append(_comparable(score))
            lanes = sorted(lanes, key=_Challenger.last)[: -(-len(lanes) // 2)]
        if descent.texts_say == "how":
            lead, base = mains.get("current", mains["gradients"]), _standing(state)
            for own in tried:
                gained = own.last() - lead[len(own.losses) - 1]
                state = _pooled(state, own.text, Score(base + gained), "proposal")
        winner = min(lanes, key=_Challenger.last)
        adopted = winner.last() < min(losses.values())
        if adopted:
            currents = (*state.currents, (winner.lane.step, plain(winner.last())))
            state = dataclasses.replace(
                state, current=winner.lane, origin=winner.text, currents=currents
            )
        else:
            state = _rejoined(state)
        contenders = [Contender(who, "", tuple(map(plain, own))) for who, own in mains.items()]
        contenders += [
            Contender("proposal", own.text, tuple(map(plain, own.losses))) for own in tried
        ]
        return state, dataclasses.replace(
            made, contenders=tuple(contenders), adopted=winner.text if adopted else None
        )


@dataclasses.dataclass
class _Challenger:
    """A proposal on probation."""

    text: str
    lane: Lane
    losses: list[float]

    def last(self) -> float:
        return self.losses[-1]


def alone(descent: AbstractDescent, gradients: int, snapshots: int = 10) -> Result:
    """Gradients alone with so many gradients: what a run is compared with at equal cost."""
    each = descent.gradients_per_step
    if each is None:
        raise ValueError("alone: the gradients of a step vary, so that they cannot be counted.")
    schedule = Alternate(rounds=0, steps=gradients // each, snapshots=snapshots)
    return Catalyst(Scripted([]), schedule).run(descent)


def _texts(found: Any, n: int) -> list[str]:
    """Up to n proposals, each once, that a file can hold. Raises TypeError for what is no text."""
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise TypeError(f"A proposer must give a list of texts, got {told(found)}.")
    return list(dict.fromkeys(whole_text(text[:TEXT]) for text in found))[:n]


def _pooled(state: State, text: str, score: Score, source: Source) -> State:
    """The state with a text in its pool."""
    record = Scored(
        text, plain(score.loss), _plain(score), source, len(state.rounds), state.lead.step
    )
    return dataclasses.replace(state, pool=state.pool.add(record))


def _standing(state: State) -> float:
    """The score of the text that the lead goes on by, where texts say how; 0 at the start."""
    found = [record.loss for record in state.pool.records if record.text == state.origin]
    return found[0] if found and found[0] is not None else 0.0


def _rejoined(state: State) -> State:
    """The state on the lane of gradients alone, where the current one is no better."""
    losses = _latest(state)
    if losses["gradients"] <= losses.get("current", math.inf):
        return dataclasses.replace(state, current=None, origin="")
    return state


def _latest(state: State) -> dict[Who, float]:
    """The losses of gradients alone, and of the current lane, at the last look."""
    loss = lambda look: math.inf if look[1] is None else look[1]
    found: dict[Who, float] = {"gradients": loss(state.gradients[-1])}
    return found if state.current is None else {**found, "current": loss(state.currents[-1])}


def _comparable(score: Score) -> float:
    """The loss, ∞ where it is not finite."""
    return score.loss if math.isfinite(score.loss) else math.inf


def _plain(score: Score) -> dict[str, float | None]:
    return {name: plain(value) for name, value in score.metrics.items()}


def _told(state: State, made: Round) -> str:
    """A line about a round."""
    best = "none finite" if state.best.loss is None else f"{state.best.loss:.4g}"
    if made.error:
        what = made.error
    elif made.adopted is not None:
        what = f"adopted {made.adopted[:60]!r}"
    else:
        what = f"none of {len(made.proposals)} proposals was better"
    return f"Round {made.number + 1}, step {made.step}: lowest loss {best}; {what}"
