"""Settings of the study of the catalyst. Standard library only."""

import dataclasses
from pathlib import Path

from ...core.settings import check, setting

USUAL = ("numbers", "words", "settings", "newsgroups")
SUPERGLUE = {name.lower(): name for name in ("BoolQ", "COPA", "RTE", "WiC", "WSC")}
PROBLEMS = (*USUAL, *SUPERGLUE)
BY_HAND = ("random", "good", "bad", "echo")  # proposers that ask nobody
ASKED = ("llm", "llm-shuffled")
CONTROLLED = ("numbers",)  # problems that llm-shuffled takes part in
ARMS = (*BY_HAND, *ASKED)
FIRST = 10  # seed of the study; those below were looked at in tries
MODEL = "smollm2-135m-instruct"  # whose answers lie in the repository
REPLAYED = ("numbers", "words", "settings")  # problems on which it was asked
ANSWERS = Path(__file__).with_name("answers")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Catalysed:
    """Sizes of the study, and who is asked."""

    problems: tuple[str, ...] = setting(USUAL, "what is tuned", choices=PROBLEMS)
    arms: tuple[str, ...] = setting(ARMS, "proposers beside gradients alone", choices=ARMS)
    seeds: int = setting(10, "starts of each problem, the same for all proposers", least=2)
    heavy: int = setting(
        5, "the most starts where each takes long: of settings, newsgroups, SuperGLUE", least=2
    )
    asked: int = setting(10, "starts at which a language model is asked, the first ones", least=2)
    rounds: int = setting(2, "questions of a run", least=1)
    candidates: int = setting(3, "texts that are asked for at once", least=1)
    factor: int = setting(1, "times the gradient steps of a stage and of a probation", least=1)
    superglue: str = setting("", "folder of SuperGLUE's official files, for its tasks")
    encoder: str = setting("", "folder of a BERT or RoBERTa, for tasks of SuperGLUE")
    length: int = setting(128, "tokens of a text of SuperGLUE, the first ones", least=4)
    base_url: str = setting("", "server that is asked for what `answers` lacks; none without it")
    answers: str = setting("", "folder of answers (default: those that come with the study)")
    model: str = setting(MODEL, "name of the language model, as its server has it")
    key_env: str = setting("", "environment variable that holds the key of the server")

    def __post_init__(self):
        check(self)
        if self.base_url and not self.answers:
            raise ValueError(
                "`base_url` needs `answers`, the folder in which the answers of that server are "
                "kept: add --answers FOLDER."
            )


SCALES = {
    "tiny": Catalysed(problems=("numbers",), seeds=2),
    "small": Catalysed(),
    "paper": Catalysed(
        problems=PROBLEMS, arms=BY_HAND, seeds=20, heavy=20, asked=20, rounds=3, factor=3
    ),
}
