"""The report holds the records' numbers, loads nothing, and trusts no name."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from evaluation.samples import LEARNED, SGD, made_up

from steppe.evaluation import compare
from steppe.evaluation.records import write_records
from steppe.evaluation.run import evaluate
from steppe.evaluation.stats import interval
from steppe.evaluation.update_curve import HISTORIES, STEADY, update_curve
from steppe.optimizers.classic.entropy_sgd import EntropySGD
from steppe.optimizers.classic.from_optax import adam, sgd
from steppe.optimizers.classic.sam import SAM
from steppe.optimizers.guarded import Guarded
from steppe.optimizers.learned.scale import Scale
from steppe.report import plots
from steppe.report.answer import SIGNS, WORDS, grids, sentence
from steppe.report.page import facts, fairness, report_from_folders, write_report
from steppe.tasks import Quadratic

ADAM = made_up()
ROWS = [
    {"step": 10, "time": 1.0, "meta_loss": -0.5},
    {"step": 20, "time": 2.0, "meta_loss": -1.0, "valid_loss": 0.4},
    {"step": 30, "time": 3.0, "meta_loss": -1.2, "valid_loss": 0.3},
]
VOID = {"meta", "br", "input", "link", "img", "hr"}  # elements without an end
NASTY = "<script>alert('x')</script> & \"co\" $\\x$"


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    path = write_report(
        tmp_path_factory.mktemp("report") / "report.html",
        title="A title",
        records=[ADAM, SGD, LEARNED, made_up("Learned", task="other"), made_up(task="other")],
        rows=ROWS,
        facts={"seed": 0, "device": "cpu", "empty": ""},
        command="steppe demo --seed 0",
        rules=[update_curve(adam(0.1), name="Learned", learned=True)],
    )
    assert path.stat().st_size < 3_000_000
    return path.read_text(encoding="utf-8")


class Balanced(HTMLParser):
    """Opens and closes every element, and collects ids."""

    def __init__(self, page: str):
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_is_well_formed(page):
    found = Balanced(page)
    assert found.open == []
    assert len(found.ids) == len(set(found.ids))
    pointed = set(re.findall(r'(?:href="#|url\(#)([^")]+)', page))
    assert pointed <= set(found.ids)


def test_page_loads_nothing(page):
    assert not re.search(r"https?:|//[a-z]|@import|<script|<link|<img|<iframe| src=", page)


def test_numbers_are_those_of_the_records(page):
    for record in (ADAM, SGD, LEARNED):
        for metric in ("train_loss", "test_loss", "test_accuracy"):
            assert compare.spread(interval(record.final(metric))) in page
        assert f"<td>{compare.figure(record.ms_per_step)}</td>" in page
        assert f"<td>{compare.figure(record.state_bytes_per_param)}</td>" in page


def test_it_says_what_must_be_said(page):
    for words in (
        compare.sentences([ADAM, SGD, LEARNED])[0],
        "steppe demo --seed 0",
        "a step of Learned takes 4.0 times one of Adam and 4.0 times one of SGD",
        "the rate of Adam lies at the highest end of its grid",
        "same starts and batches for all, 3 seeds",
        "3 grids, 12 inner trainings",
    ):
        assert words in page
    assert "empty" not in re.findall(r"<dt>(.*?)</dt>", page)


def test_losses_are_told_in_steps_and_in_time(page):
    panel = page[page.index('id="losses"') : page.index('id="cost"')]
    assert "digits, 10 steps</td><td>test loss</td><td>Learned 0.200</td><td>SGD 0.150" in panel
    assert "at equal wall-clock with Adam (5 steps)" in panel
    assert "<td>Adam 0.300</td>" in panel  # lost in equal time only


def test_gradients_a_step_are_those_that_the_optimizers_take(getkey, tmp_path):
    # SAM and attention look at another point, Entropy-SGD walks a chain: they do not take 1.
    optimizers = {
        "SGD": sgd(0.1),
        "SAM": SAM(sgd(0.1)),
        "Entropy-SGD": EntropySGD(0.1, steps=5),
        "Attention": Scale((2,), 1, attention=True, key=getkey()),
    }
    key = getkey()
    records = [
        evaluate(
            Quadratic(n=2), opt, name=name, task_name="bowl", horizon=1, seeds=1, key=key, points=1,
            ms_per_step=1.0,
        )
        for name, opt in optimizers.items()
    ]  # fmt: skip
    page = write_report(tmp_path / "r.html", title="t", records=records).read_text()
    assert "Gradients a step: 1 for SGD, 2 for SAM and Attention and 5 for Entropy-SGD" in page


def test_what_a_guarded_optimizer_rejects_is_shown(getkey):
    """All steps uphill: the first, and the second from where the fallback is."""
    record = evaluate(
        Quadratic(n=2), Guarded(sgd(-0.1), sgd(0.1)), name="Uphill", task_name="bowl", horizon=2,
        seeds=1, key=getkey(), points=2, ms_per_step=1.0,
    )  # fmt: skip
    assert record.metrics["rejections"] == [[0.0, 1.0, 2.0]]
    assert record.gradients_per_step == 2
    said = "bowl, 2 steps: 2.00 rejections of Uphill a run, on average."
    assert said in str(fairness(compare.cases([record])))
    assert said in compare.text_table([record])


@pytest.mark.parametrize(
    "counts, said", [((1, 1), "Gradients a step: 1 for all."), ((1, None), "not fixed for Adam")]
)
def test_gradients_a_step_in_words(counts, said):
    records = [
        made_up(name, gradients_per_step=n) for name, n in zip(("SGD", "Adam"), counts, strict=True)
    ]
    assert said in str(fairness(compare.cases(records)))


def test_names_are_escaped(tmp_path):
    path = write_report(
        tmp_path / "r.html",
        title=NASTY,
        records=[made_up("Learned " + NASTY), made_up(NASTY, task=NASTY), made_up(NASTY)],
        rows=ROWS,
        facts={NASTY: NASTY},
        verdict=[NASTY],
        command=NASTY,
    )
    page = path.read_text(encoding="utf-8")
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 6
    assert Balanced(page).open == []


def test_empty_panels_are_left_out(tmp_path):
    path = write_report(tmp_path / "r.html", title="Nothing", records=[], rows=ROWS)
    page = path.read_text(encoding="utf-8")
    assert 'id="meta-training"' in page
    for panel in ("verdict", "numbers", "training", "rule", "losses", "cost", "reproduce"):
        assert f'<section id="{panel}"' not in page


def test_diverged_and_single_seeds_can_be_drawn(tmp_path):
    losses = [[2.0, 1.0, 0.5]]
    one = {"seeds": [0], "metrics": {"train_loss": losses, "test_loss": losses}, "curve": losses}
    for records in (
        [LEARNED, made_up(ends=(None, None, None))],
        [made_up("Learned", **one), made_up(**one)],
    ):
        page = write_report(tmp_path / "r.html", title="t", records=records).read_text()
        assert "<table" in page


def test_report_from_files_alone(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    write_records(folder / "records.jsonl", [ADAM, LEARNED], {"device": "1 × cpu"})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (folder / "config.json").write_text(json.dumps({"title": "From files", "seed": 7, "x": {}}))
    (folder / "env.json").write_text(json.dumps({"versions": {"jax": "9.9"}, "commit": "abc123"}))
    page = report_from_folders([folder], tmp_path / "out" / "report.html").read_text()
    for words in (
        "<h1>From files</h1>",
        "jax 9.9",
        "abc123",
        compare.sentences([ADAM, LEARNED])[0],
    ):
        assert words in page
    assert 'id="meta-training"' in page


def test_two_folders_make_one_report(tmp_path):
    """Equal baselines are shown once, namesakes are told apart by their folder."""
    for name, learned in (("a", LEARNED), ("b", made_up("Learned", ends=(0.12, 0.2, 0.3)))):
        (tmp_path / name).mkdir()
        write_records(tmp_path / name / "records.jsonl", [ADAM, learned], {})
    page = report_from_folders([tmp_path / "a", tmp_path / "b"], tmp_path / "r.html").read_text()
    numbers = page[page.index('id="numbers"') : page.index('id="differences"')]
    assert re.findall(r"<tr.*?><td>([^<]+?) ?<", numbers) == ["Learned", "Learned (b)", "Adam"]


def test_folders_that_hold_nothing_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"neither records\.jsonl, metrics\.jsonl nor"):
        report_from_folders([tmp_path], tmp_path / "r.html")
    with pytest.raises(FileNotFoundError, match="is no folder"):
        report_from_folders([tmp_path / "absent"], tmp_path / "r.html")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json: found no JSON"):
        report_from_folders([tmp_path], tmp_path / "r.html")


def test_powers_of_ten_are_numbers_and_not_their_source():
    """On axes that a study makes logarithmic with matplotlib's own words."""

    def draw(figure):
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.plot([1e-3, 1e4], [1, 1e5])

    drawn = plots.svg(draw, "powers", (4.0, 3.0))
    assert "mathdefault" not in drawn and ">0.01<" in drawn and ">1000<" in drawn


def test_facts_are_flat():
    found = facts(
        {"title": "t", "command": "c", "seed": 1, "settings": {"a": 1}},
        {"device": "2 × cpu", "seconds": {"training": 61.2, "in all": 100.0}},
    )
    assert found == {"seed": "1", "device": "2 × cpu", "time": "training 61 s, in all 100 s"}


def test_rule_of_sgd_is_a_line():
    rule = update_curve(sgd(0.3), name="SGD", learned=False)
    assert rule.unit == pytest.approx(0.3, rel=1e-3)
    for history in HISTORIES:
        assert rule.curves[history] == pytest.approx([-g for g in rule.g], abs=1e-3)


def test_rule_of_adam_is_its_formula():
    """After twenty gradients of 1 comes g: m̂ = (Σ …), v̂ likewise, u = −lr m̂ / √v̂."""
    rule = update_curve(adam(0.01), name="Adam", learned=False)
    g, t = np.array(rule.g), 21
    m = (1 - 0.9 ** (t - 1)) * 0.9 + 0.1 * g
    v = (1 - 0.999 ** (t - 1)) * 0.999 + 0.001 * g**2
    u = -(m / (1 - 0.9**t)) / np.sqrt(v / (1 - 0.999**t))
    assert rule.unit == pytest.approx(0.01, rel=1e-3)
    assert rule.curves[STEADY] == pytest.approx(list(u), rel=2e-3, abs=1e-3)


def first_screen(page: str) -> str:
    return page[page.index('<section id="answer"') : page.index('<section id="verdict"')]


def test_the_first_screen_answers_better_and_where(page):
    """Sentence and grid of the first screen, with the verdicts of the paired comparisons."""
    screen = first_screen(page)
    assert page.index("<h1>") < page.index('<section id="answer"') < page.index("<dl")
    case = compare.cases([ADAM, SGD, LEARNED])[0]
    steps = {c.theirs: c for c in compare.compare(case) if c.metric == "test_loss"}
    clock = {c.theirs: c for _, c in compare.equal_time(case)}
    for theirs, c in steps.items():
        sign, word = SIGNS[c.paired.verdict], WORDS[c.paired.verdict]
        size = f"{100 * c.paired.difference.mean / c.their_mean:+.0f} %".replace("-", "−")
        timed = clock[theirs].paired.verdict
        in_time = f"clock: {SIGNS[timed]} {WORDS[timed]}"
        kind = {"no difference seen": "same"}.get(c.paired.verdict, c.paired.verdict)
        square = re.search(
            rf'<td class="{kind}" title="[^"]*{theirs}[^"]*"><b>{sign} {word}</b>{re.escape(size)}'
            rf"<small[^>]*>{in_time}</small>",
            screen,
        )
        assert square, (theirs, sign, word, size, in_time)
    assert "In part: in test loss, Learned is better in 1 of 3 comparisons at equal" in screen
    assert "at equal wall-clock it is better in 0 of 3 and worse in" in screen


def test_an_optimizer_without_a_rival_has_no_grid():
    assert grids(compare.cases([LEARNED])) == []
    apart = made_up(seeds=[7, 8, 9])
    [grid] = grids(compare.cases([LEARNED, apart]))
    assert grid.marks("steps") == [] and "nothing can be compared" in sentence(grid)


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        ((0.1, 0.1, 0.1), (0.2, 0.2, 0.2), "Yes: in test loss, Learned is better in 1 of 1"),
        ((0.3, 0.3, 0.3), (0.2, 0.2, 0.2), "No: in test loss, Learned is better in 0 of 1"),
        ((None, None, None), (0.2, 0.2, 0.2), "No: "),
    ],
)
def test_the_answer_in_words(ours, theirs, said):
    records = [made_up("Learned", ends=ours), made_up(ends=theirs)]
    [grid] = grids(compare.cases(records))
    assert sentence(grid).startswith(said)
