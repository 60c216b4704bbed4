"""`steppe catalyst`: what it prints and writes, servers that are dead, and what it refuses."""

import errno
import json
import re
import socket

import pytest
from prompt import stand_in
from prompt.server import good, send, serving
from tasks.text.tiny import WORDS, write

import steppe as library
from steppe.prompt.alternation import Alternation
from steppe.prompt.local import NAME
from steppe.prompt.proposers import Scripted
from steppe.prompt.transcript import Transcript
from steppe.store.untrusted import Source, checked

PROBLEM = ("catalyst", "rastrigin-shifted", "--lr", 0.01, "--bounds", "-5,5")
TINY = (*PROBLEM, "--rounds", 1, "--steps", 4, "--probation", 2)
KEY = "sk-do-not-show-this-key"


def record_of(folder) -> Alternation:
    """The record as a stranger's file is read."""
    plain = json.loads((folder / "catalyst.json").read_text())
    del plain["verdict"]
    return checked(plain, Alternation, Source("catalyst.json"))


def test_a_script_leads_out_of_a_valley(steppe, tmp_path):
    hostile = "</td><script>alert(1)</script>\u202e"
    (tmp_path / "s.json").write_text(json.dumps([[hostile, "x1 = -0.5, x2 = 2.4"]]))
    answer = steppe(*TINY, "--script", "s.json", "--out", "found")
    assert answer.code == 0 and "adopted at step 4: x1 = -0.5, x2 = 2.4" in answer.out
    assert re.search(r"Round 1, step 4: .*adopted", answer.err)
    found = record_of(tmp_path / "found")
    assert found.verdict in answer.out and found.proposer == "scripted"
    counts = {name: way.history.counts.gradients or 0 for name, way in found.ways.items()}
    # 4 steps to the question; then 2 of gradients alone and 2 of the one that can be read; …
    assert found.gradients == 4 * 2 + 2 * 2 + 3 * 1 + 2 * 1 + 4 == max(counts.values())
    assert set(counts) == {"catalyst", "gradients alone", "random restart"}
    losses = [way.loss or 0.0 for way in found.ways.values()]
    assert 0 < losses[0] < losses[1] and found.catalyst.test == pytest.approx(losses[0])
    assert losses[0] < (found.catalyst.history.alone or 0.0)
    page = (tmp_path / "found/catalyst.html").read_text()
    assert found.verdict in page and "<script" not in page and "\u202e" not in page
    assert "&lt;/td&gt;&lt;script&gt;alert(1)&lt;/script&gt;·" in page
    assert not re.search(r"(src|href)=[\"']?(http|//)", page)
    assert len(list(Transcript(tmp_path / "found/transcript.jsonl").lines())) == 1
    again = steppe(*TINY, "--script", "s.json", "--out", "found")
    assert again.code == 2 and "exists already" in again.err


def test_a_server_is_asked_and_replayed(steppe, tmp_path, monkeypatch):
    monkeypatch.setenv("THE_KEY", KEY)
    texts = '[{"x1": -0.5, "x2": 2.4}, {"x1": 3, "x2": 3}]'
    line = (*TINY, "--cache", "kept", "--model", "tiny-1", "--candidates", 2, "--json")
    with serving(send(200, json.dumps(good(texts)).encode())) as server:
        asked = ("--base-url", server.url, "--key-env", "THE_KEY", "--price", "1,2")
        first = steppe(*line, *asked, "--out", "a")
        headers = {name.lower(): x for name, x in server.asked[0][1].items()}
        assert first.code == 0 and headers["authorization"] == f"Bearer {KEY}"
        assert len(server.asked) == 1
    told = json.loads(first.out)
    paid = told["paid"]
    assert (paid["calls"], paid["prompt_tokens"], paid["completion_tokens"]) == (1, 7, 3)
    assert paid["cost"] == pytest.approx(13e-6) and "1 calls, 10 tokens" in first.err
    assert told["catalyst"]["history"]["rounds"][0]["adopted"] == '{"x1": -0.5, "x2": 2.4}'
    again = json.loads(steppe(*line, "--cache-mode", "replay").out)
    assert again["catalyst"] == told["catalyst"] and again["paid"]["calls"] == 0
    assert "kept from before" in again["price"]
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert len(files) == 5 and not any(KEY in p.read_text() for p in files)
    assert KEY not in first.out + first.err
    other = steppe(*line, "--cache-mode", "replay", "--seed", 1)
    assert other.code == 2 and "no such answer was recorded" in other.err


@pytest.mark.filterwarnings("default")
def test_a_dead_server_ends_with_the_gradients(steppe):
    with serving(send(500)) as server:
        url = server.url
    answer = steppe(*TINY, "--base-url", url, "--deadline", 0.3, "--json")
    told = json.loads(answer.out)
    assert answer.code == 0 and "steppe: note: " in answer.err
    assert told["catalyst"]["history"]["counts"]["failures"] == 1
    mine, alone = told["catalyst"]["history"]["best"], told["alone"]["history"]["best"]
    assert mine == alone and "gradients alone" in told["verdict"]


def test_a_server_of_this_machine_runs_meanwhile(steppe, tmp_path, monkeypatch):
    stand_in.fetched(tmp_path / "fetched", monkeypatch)
    line = (*TINY, "--serve", "--cache", "kept", "--candidates", 1, "--json")
    first = steppe(*line)
    assert first.code == 0, first.err
    (port,) = re.findall(r"answers at http://127\.0\.0\.1:(\d+)\n", first.err)
    with socket.socket() as one:
        assert one.connect_ex(("127.0.0.1", int(port))) == errno.ECONNREFUSED
    told = json.loads(first.out)
    assert told["proposer"] == "llm" and told["model"] == NAME and told["paid"]["calls"] == 1
    assert told["catalyst"]["history"]["rounds"][0]["proposals"] == ['{"x1": -0.5, "x2": 2.4}']
    monkeypatch.setenv("STEPPE_CACHE", "nowhere")  # nothing is started for a replay
    again = steppe(*line, "--cache-mode", "replay")
    assert json.loads(again.out)["catalyst"] == told["catalyst"] and "answers at" not in again.err


def test_a_run_that_was_broken_off_goes_on(steppe, tmp_path, monkeypatch):
    (tmp_path / "s.json").write_text(json.dumps([["x1 = -0.5, x2 = 2.4"], ["x1 = 0, x2 = 0"]]))
    line = (*PROBLEM, "--rounds", 2, "--steps", 4, "--script", "s.json", "--json")
    expected = json.loads(steppe(*line).out)
    asked, own = [], Scripted.propose

    def propose(self, pool, n):
        asked.append(n)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return own(self, pool, n)

    monkeypatch.setattr(Scripted, "propose", propose)
    assert steppe(*line, "--cache", "kept").code == 130
    again = steppe(*line, "--cache", "kept")
    told = json.loads(again.out)
    assert re.search(r"\n\d\d scores and texts of an earlier run are kept", again.err)
    for way in ("catalyst", "alone", "restart"):
        assert told[way] == expected[way]
    assert "are kept" not in steppe(*line, "--cache", "kept", "--seed", 1).err
    assert "are kept" not in steppe(*line, "--cache", "kept", "--cache-mode", "off").err


def test_too_many_numbers_are_refused_before_a_rate_is_tuned(steppe, monkeypatch):
    monkeypatch.setattr(
        "steppe.evaluation.tuning.tune", lambda *_, **__: pytest.fail("it was tuned")
    )
    assert "a text can tell 64 at most" in steppe("catalyst", "sparse-recovery", "--quiet").sentence


REFUSED = {
    "no task": (("catalyst",), "TASK is missing"),
    "unknown task": (("catalyst", "rastrigin-shift"), "did you mean 'rastrigin-shifted'"),
    "too many": (("catalyst", "sparse-recovery", "--lr", 0.1), "a text can tell 64 at most"),
    "game": (("catalyst", "seesaw", "--lr", 0.1), "is a game"),
    "no script": ((*TINY, "--proposer", "scripted"), "--proposer scripted and --script go tog"),
    "no such script": ((*TINY, "--script", "nowhere.json"), "nowhere.json"),
    "server of none": ((*TINY, "--base-url", "http://a", "--proposer", "echo"), "--base-url is"),
    "address": ((*TINY, "--base-url", "ftp://a"), "base_url must be an address"),
    "secret": ((*TINY, "--base-url", f"http://u:{KEY}@a"), "which could be secrets"),
    "the key itself": ((*TINY, "--key-env", KEY), "what was given is not shown"),
    "bounds": ((*PROBLEM, "--bounds", "1,1"), "--bounds must be a lower number and a higher one"),
    "one bound": ((*PROBLEM, "--bounds", "1"), "--bounds must be two numbers, got 1"),
    "no such key": (
        (*TINY, "--base-url", "http://127.0.0.1:9", "--key-env", "NOT_SET"),
        "--key-env names an environment variable that is not set, or is empty",
    ),
    "two servers": ((*TINY, "--serve", "--base-url", "http://a"), "leave --base-url and --script"),
    "server for none": ((*TINY, "--serve", "--proposer", "echo"), "--serve is for a language"),
    "not fetched": ((*TINY, "--serve"), "run `steppe fetch xllamacpp smollm2` (127 MB) first"),
    "no posts": (("catalyst", "newsgroups-prompt", "--lr", 0.01), "run steppe fetch minilm"),
    "two sizes": (("catalyst", "newsgroups-prompt", "--sizes", "1,2"), "takes three --sizes"),
    "cost": ((*TINY, "--cost", 1), "--cost needs prices; add --price"),
    "replay": ((*TINY, "--cache-mode", "replay"), "--cache-mode replay needs the folder"),
    "rate": ((*TINY, "--lr", 0), "--lr must be a positive number"),
    "steps": ((*TINY, "--steps", 0), "--steps must be at least 1"),
}  # fmt: skip


@pytest.mark.parametrize("words, said", REFUSED.values(), ids=REFUSED)
def test_refused(words, said, steppe, tmp_path, monkeypatch):
    monkeypatch.setenv("STEPPE_CACHE", str(tmp_path / "empty"))
    answer = steppe(*words, "--out", "found", "--quiet")
    assert answer.code == 2 and said in answer.sentence and KEY not in answer.err
    assert not (tmp_path / "found").exists()


RECIPE = (
    "catalyst", "booth", "--recipe", "learned-adam", "--tune", "meta-lr=1e-4:1:log", "--given",
    "unroll=2,horizon=4,episodes=2,validation-episodes=2", "--rounds", 1, "--steps", 2,
)  # fmt: skip


def test_settings_of_a_recipe(steppe, tmp_path):
    (tmp_path / "s.json").write_text('[["meta.lr = 0.3"]]')
    answer = steppe(*RECIPE, "--script", "s.json", "--out", "found")
    assert answer.code == 0 and "adopted at step 2: meta.lr = 0.3" in answer.out
    found = record_of(tmp_path / "found")
    assert found.problem == "meta-training of learned-adam on booth"
    assert found.found == {"meta.lr": 0.3}
    about = library.manifest("found")
    assert about["recipe"]["task"]["name"] == "booth" and about["recipe"]["meta"]["lr"] == 0.3
    assert library.load("found") is not None
    assert found.verdict in (tmp_path / "found/catalyst.html").read_text()


RECIPE_REFUSED = {
    "nothing to tune": (("catalyst", "booth", "--recipe", "dm"), "--recipe and --tune go together"),
    "no recipe": (
        ("catalyst", "booth", "--tune", "meta-lr=0:1"),
        "--recipe and --tune go together",
    ),
    "unknown": (("catalyst", "booth", "--recipe", "twim", "--tune", "a=0:1"), "did you mean 'twin"),
    "unknown setting": ((*RECIPE, "--given", "unrol=2"), "did you mean"),
    "a rate of its own": ((*RECIPE, "--lr", 0.1), "--lr is for a task's own numbers"),
    "given alone": ((*TINY, "--given", "unroll=2"), "--given is about a --recipe"),
    "words of none": ((*TINY, "--words", 2), "--words is about a prompt"),
    "tune": ((*RECIPE, "--tune", "hidden=1:2"), "cannot change in the middle"),
}


@pytest.mark.parametrize("words, said", RECIPE_REFUSED.values(), ids=RECIPE_REFUSED)
def test_refused_recipes(words, said, steppe, tmp_path):
    answer = steppe(*words, "--out", "found", "--quiet")
    assert answer.code == 2 and said in answer.sentence
    assert not (tmp_path / "found").exists()


def test_a_prompt_in_front_of_texts(steppe, tmp_path):
    write(tmp_path / "bert")
    rows = [f"{'engine' if i % 2 else 'planet'} {WORDS[4 + i // 2 % 4]} {'the ' * i},{i % 2}"
            for i in range(40)]  # fmt: skip
    (tmp_path / "posts.csv").write_text("text,label\n" + "\n".join(rows))
    (tmp_path / "s.json").write_text('[["engine planet"]]')
    line = (
        "catalyst", "posts.csv", "--encoder", "bert", "--words", 2, "--length", 6, "--sizes",
        "16,8,8", "--lr", 0.01, "--rounds", 1, "--steps", 2, "--candidates", 1, "--script",
        "s.json",
    )  # fmt: skip
    answer = steppe(*line, "--out", "found")
    assert answer.code == 0, answer.err
    found = record_of(tmp_path / "found")
    assert found.problem == "posts.csv" and set(found.found) == {"prompt"}
    tried = found.catalyst.history.rounds[0]
    assert tried.proposals == ("engine planet",) and not tried.unreadable
    assert "accuracy" in found.catalyst.history.metrics
    for extra, said in (
        (("--encoder", "nowhere"), "nowhere"),
        (("--bounds", "-1,1"), "no --recipe or --bounds"),
        (("--sizes", "400,8,8"), "texts"),
    ):
        assert said in steppe(*line, *extra, "--quiet").sentence
