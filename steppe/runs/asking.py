"""Who proposes, and by which limits: a model behind a server, chance, a script, or an echo.

No server is asked for anything before the first question, and with replay never.
"""

import dataclasses
import os
from pathlib import Path
from typing import Annotated

from ..prompt.alternation import Paid, Proposer
from ..prompt.breaker import Breaker
from ..prompt.budget import Budget, BudgetedClient
from ..prompt.cache import CachedClient, Mode
from ..prompt.chat import AbstractClient
from ..prompt.client import HTTPClient
from ..prompt.codecs import AbstractCodec
from ..prompt.instruction import Instruction
from ..prompt.pool import Text
from ..prompt.proposers import LLM, AbstractProposer, Echo, RandomRestart, Scripted
from ..prompt.transcript import Transcript
from ..prompt.wire import Address, Limits
from ..store.untrusted import Length, Source, checked, read_document

LOCAL = "http://localhost:8080"  # where llama.cpp listens
Script = Annotated[tuple[Annotated[tuple[Text, ...], Length(1000)], ...], Length(10_000)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asking:
    """A proposer as it is asked for: its kind, its server, its limits.

    - `script`: a JSON file with a list of lists of texts, one list for each question
    - `base_url`, `model`, `key`: as in `HTTPClient`
    - `cache`, `mode`: a folder for answers, and what becomes of it (`CachedClient`)
    - `deadline`: seconds for all tries of one question
    - `temperature`, `max_tokens`: of an answer
    """

    proposer: Proposer
    script: str | os.PathLike | None = None
    base_url: str | None = None
    model: str = "default"
    key: str | None = None
    cache: str | os.PathLike | None = None
    mode: Mode = "use"
    budget: Budget = dataclasses.field(default_factory=Budget)
    deadline: float = 600.0
    temperature: float = 0.8
    max_tokens: int = 200
    seed: int = 0

    def __post_init__(self):
        if (self.script is None) is (self.proposer == "scripted"):
            raise ValueError(
                "`proposer scripted` and `script` go together: give both, or neither of them."
            )
        if self.mode == "replay" and self.cache is None:
            raise ValueError("`cache_mode replay` needs the folder of the answers; add `cache`.")
        if self.mode == "replay" and not Path(self.cache or "").is_dir():
            raise ValueError(
                f"{self.cache} is no folder, so that there are no answers to replay; give the one "
                "that they were kept in as `cache`."
            )
        asks = self.proposer == "llm" and self.mode != "replay"
        if asks and isinstance(self.key, str) and not os.environ.get(self.key):
            raise ValueError(  # without the name, which may be the key itself
                "`key_env` names an environment variable that is not set, or is empty; set it to "
                "the key, or leave `key_env` out for a server without keys."
            )

    def made(
        self, codec: AbstractCodec, instruction: Instruction, transcript: Transcript | None = None
    ) -> "Asked":
        """The proposer, and what counts its answers."""
        if self.proposer == "llm":
            meter = self._meter()
            client: AbstractClient = meter
            if self.cache is not None:
                client = CachedClient(meter, self.cache, self.mode)
            model = LLM(
                client,
                instruction,
                codec,
                temperature=self.temperature,
                max_tokens=self.max_tokens,
                seed=self.seed % 2**30,
                transcript=transcript,
            )
            return Asked(model, meter)
        if self.proposer == "scripted":
            return Asked(Scripted(read_script(str(self.script))))
        return Asked(Echo() if self.proposer == "echo" else RandomRestart(codec, self.seed % 2**31))

    def _meter(self) -> BudgetedClient:
        url = self.base_url or LOCAL
        # A server of this machine that is slow computes; it is not asked again meanwhile.
        patient = Limits(read=self.deadline) if Address.of(url).loopback else Limits()
        how = {"key": self.key, "deadline": self.deadline, "limits": patient}
        server = HTTPClient(url, self.model, **how)
        return BudgetedClient(Breaker(server), self.budget)


@dataclasses.dataclass(frozen=True)
class Asked:
    """A proposer, and the client that counts what a model takes."""

    proposer: AbstractProposer
    meter: BudgetedClient | None = None

    @property
    def paid(self) -> Paid:
        """The sums up to now; answers that were kept from before take nothing."""
        if self.meter is None:
            return Paid()
        spent, price = self.meter.spent, self.meter.budget.price
        return Paid(**{**dataclasses.asdict(spent), "cost": spent.cost if price else None})

    def so_far(self) -> str:
        """The same in words for a line of progress, "" where no model is asked."""
        if self.meter is None:
            return ""
        paid = self.paid
        cost = "" if paid.cost is None else f", cost {paid.cost:.4g}"
        tokens = paid.prompt_tokens + paid.completion_tokens
        return f" · {paid.calls} calls, {tokens:,} tokens, {paid.seconds:.0f} s{cost}"


def read_script(path: str) -> Script:
    """The texts of a script, question by question. Raises FileError for what is none."""
    source = Source(path, 'give a JSON list of lists of texts, such as [["x1 = 0, x2 = 0"]]')
    return checked(read_document(path, source), Script, source)


def usual(base_url: str | None, script: object, mode: str) -> Proposer:
    """The proposer where none is named: no server is asked that was not named either."""
    if script is not None:
        return "scripted"
    return "llm" if base_url is not None or mode == "replay" else "random"
