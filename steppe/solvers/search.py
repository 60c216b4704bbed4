"""The search itself: validation problems, the race, the comparison, the certificate.

    problems of validation   what the race goes by, and which solver is taken
    problems of comparison   the numbers of the page
    fresh problems           the certificate

The time that comparison and certificate need is foretold from runs of FISTA, and kept back.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.random as jr

from ..certificates.certificate import Certificate
from ..certificates.certify import certify
from ..core.optimizer import AbstractOptimizer
from ..optimizers.classic.proximal import FISTA
from ..train.environment import environment
from ..train.stopping import Stop
from .candidates import Candidate
from .family import Family
from .judge import Paces, Problems, draw, errors, paces
from .race import Allowance, Runner, race
from .record import By, Record, Row, chosen, first_within, judged, timed
from .rivals import rival_rows
from .settings import LAYERS, Settings
from .solver import Solver, runs

WIDTH = 64  # problems of a batch that is timed
FIRST, MOST = 100, 3200  # iterations of FISTA that are looked at: in a first try, and at most
DEEPEST = 128  # layers
KEPT = 0.6  # of the budget at most, for the comparison and the certificate
COMPILING = 2.0  # seconds for the programs of a certificate, and of a comparison of one solver


class Search:
    """One search: the family, the settings, and the clock."""

    def __init__(
        self,
        family: Family,
        how: Settings,
        words: str,
        stop: Stop,
        say: Callable[[str], None],
        began: float,
    ):
        self.family, self.how, self.words, self.stop = family, how, words, stop
        self.say, self.began = say, began
        self.notes: list[str] = []
        self.paces: dict[str, Paces] = {}
        self.steps = 0
        self.tried = [c for c in how.candidates if not c.lacks(family)]
        self.by_hand = [c for c in self.tried if c.train is None]
        keys = jr.split(jr.key(how.seed), 4)
        self.key_valid, self.key_test, self.key_make, self.key_race = keys

    def run(self, name: str | None, options: dict[str, Any]) -> Solver:
        """The solver."""
        how, valid = self.how, draw(self.family.task, self.key_valid, self.how.problems)
        opts = {c.name: c.make(self.family, self.key_make) for c in self.by_hand}
        self.steps = how.steps or self.horizon(valid)
        enough = self.steps // 2 if how.goal == "objective" else self.steps
        depth = min(DEEPEST, max(1, enough))
        self.family = dataclasses.replace(self.family, depth=depth)
        self.say(f"{how.problems} problems to choose by, {self.steps} iterations of each")

        rows = {c.name: self.judge(c, opts[c.name], valid) for c in self.by_hand}
        runners = self.train(valid)
        for runner in runners:
            if runner.opt is not None and runner.row is not None:
                opts[runner.candidate.name], rows[runner.candidate.name] = runner.opt, runner.row
        self.say("comparing all on problems that nobody has seen")
        if how.budget is not None:
            self.measure(opts, valid, ("batch", "alone"))
        taken = chosen([self.timed(row) for row in rows.values()], how.by)
        fresh = draw(self.family.task, self.key_test, how.problems)
        compared = self.compare(opts, runners, fresh)
        if how.budget is not None and self.stop.signal is None:
            compared += rival_rows(self.family, fresh, how.tolerances)
        cert: Certificate | None = None
        if self.stop.signal is None:
            opt = opts[taken.name]
            try:
                cert = self.certificate(opt, taken.name, taken, name, options)
            except ValueError as error:  # equal problems, say: the solver is not lost for that
                self.notes.append(f"Nothing is certified. {error}")
        else:
            self.notes.append("Stopped by a signal: nothing is certified.")
        record = Record(
            family=self.words,
            goal=how.goal,
            error=how.error,
            tolerances=how.tolerances,
            by=how.by,
            steps=self.steps,
            problems=how.problems,
            width=min(WIDTH, how.problems),
            rows=tuple(compared),
            winner=taken.name,
            budget=how.budget,
            seconds=time.perf_counter() - self.began,
            seed=how.seed,
            notes=tuple(self.notes),
            environment=environment(),
        )
        return Solver(opts[taken.name], record, cert, {}, self.stop.signal)

    def horizon(self, problems: Problems) -> int:
        """Twice the iterations of FISTA with restart to the last tolerance; for recovery 16."""
        if self.how.goal == "recovery":
            return LAYERS
        steps, fista = FIRST, FISTA(restart=True)
        while True:
            found = errors(self.family.task, fista, problems, steps, "gap")
            last = float(first_within(found, self.how.tolerances[-1]).max())
            if math.isfinite(last):
                return 20 * max(1, math.ceil(2 * last / 20))
            if steps >= MOST:
                self.notes.append(
                    f"FISTA with restart does not come to {self.how.tolerances[-1]:g} on all "
                    f"problems within {steps} iterations."
                )
                return steps
            steps *= 4

    def judge(self, candidate: Candidate, opt: AbstractOptimizer, problems: Problems) -> Row:
        """The row of a solver on these problems."""
        row = Row(name=candidate.name, about=candidate.about, kind=candidate.kind)
        found = errors(self.family.task, opt, problems, self.steps, self.how.error)
        return self.timed(judged(found, self.how.tolerances, row))

    def timed(self, row: Row) -> Row:
        """The row with the paces that are known."""
        pace = self.paces.get(row.name, {})
        return timed(row, pace.get("alone"), pace.get("batch"))

    def measure(
        self, opts: dict[str, AbstractOptimizer], problems: Problems, by: Sequence[By]
    ) -> None:
        """Take the paces of solvers, and keep the quickest."""
        for name, found in paces(self.family.task, opts, problems, WIDTH, by).items():
            known = self.paces.setdefault(name, {})
            known |= {how: min(x, known.get(how, math.inf)) for how, x in found.items()}

    def train(self, problems: Problems) -> list[Runner]:
        """The race of the learned solvers, in the time that is not needed later."""
        learned = [c for c in self.tried if c.train is not None]
        until = None
        if self.how.budget is not None:
            kept = min(self.later(problems, len(learned)), KEPT * self.how.budget)
            until = self.began + self.how.budget - kept
            left = max(0.0, until - time.perf_counter())
            self.say(f"{left:.0f} s to train {len(learned)} learned solvers, {kept:.0f} s kept")
        allowance = Allowance(until, self.how.tries or 0, lambda: self.stop.signal is not None)
        judge = lambda candidate, opt: self.judge(candidate, opt, problems)

        def retime(runners: Sequence[Runner]) -> None:
            known = {r.candidate.name: r.opt for r in runners if r.opt is not None}
            self.measure(known, problems, (self.how.by,))
            for runner in runners:
                runner.row = None if runner.row is None else self.timed(runner.row)

        return race(
            learned,
            self.family,
            judge,
            retime,
            allowance,
            self.how.by,
            self.key_race,
            self.say,
        )

    def later(self, problems: Problems, learned: int) -> float:
        """Seconds that the comparison and the certificate will take, by the pace of FISTA."""
        fista = {"": FISTA(restart=True)}
        pace = paces(self.family.task, fista, problems, 1, ("alone",))[""]["alone"]
        programs = COMPILING * (1 + len(self.by_hand) + learned)
        return programs + 3 * pace * self.steps * self.how.n / jax.local_device_count()

    def compare(
        self, opts: dict[str, AbstractOptimizer], runners: Sequence[Runner], fresh: Problems
    ) -> list[Row]:
        """The rows of all candidates on problems that nobody has seen."""
        trained = {}
        for runner in runners:
            about = {"meta_steps": runner.steps, "seconds": runner.seconds, "fault": runner.fault}
            trained[runner.candidate.name] = about
        rows = []
        for c in self.how.candidates:
            row = Row(name=c.name, about=c.about, kind=c.kind, fault=c.lacks(self.family))
            if c.name in opts:
                row = self.judge(c, opts[c.name], fresh)
            told = trained.get(c.name, {})
            if c.name not in opts and not (row.fault or told.get("fault")):
                told = told | {"fault": "no time was left to train it"}
            rows.append(dataclasses.replace(row, **told) if told else row)
        return rows

    def certificate(
        self, opt: AbstractOptimizer, solver: str, row: Row, name: str | None, options
    ) -> Certificate:
        """The certificate of the winner, on problems of its own."""
        how, length = self.how, self.steps
        if row.most and row.most[-1] is not None:  # three times what nine in ten took
            length = min(length, 10 * max(1, math.ceil(3 * row.most[-1] / 10)))
        self.say(f"certifying {solver} on {how.n} fresh problems × {length} iterations")
        title = name or type(self.family.task.task).__name__
        about = {"name": solver, "task_name": title, "task_options": options}
        run = runs(self.family.task, opt, how.error, **about)
        return certify(
            run, steps=length, delta=how.delta, n=how.n, seed=how.seed, **how.claims(length)
        )
