"""What all studies share, on cells that take no time; the table of studies."""

import ast
import dataclasses
import json
import re
from pathlib import Path

import pytest

from steppe.cli.main import main
from steppe.evaluation.engines import function
from steppe.store.untrusted import FileError
from steppe.studies import names
from steppe.studies.page import write_study_page
from steppe.studies.study import (
    SCALES,
    Conclusion,
    Study,
    Verdict,
    conclude,
    content,
    in_fresh_process,
    means,
    read,
    records,
    reproduce,
    reproduced,
    sentences,
)

FOLDER = Path(names.__file__).parent
DONE: list[dict] = []


def work(cell):
    DONE.append(cell)
    return {"rows": [{"seed": s, "loss": cell["lr"] * s} for s in range(cell["seeds"])]}


STUDY = Study(
    cells=lambda seeds: ({"lr": lr, "seeds": seeds} for lr in (1.0, 2.0)),
    work=f"{__name__}:work",
    conclude=lambda seeds, rows: Conclusion(
        means(rows, by="lr", of="loss"),
        {"lines": len(records(rows))},
        [Verdict("It holds", seeds == 3, "of course")],
        {"more.txt": lambda path: path.write_text("more")},
    ),
)


@pytest.fixture(autouse=True)
def nothing_done():
    DONE.clear()


def test_cells_with_a_result_are_not_done_again(tmp_path):
    quiet = lambda text: None
    conclusion, grid = reproduce(STUDY, 3, tmp_path, engine="serial", say=quiet)
    assert len(DONE) == 2 and grid.failed == []
    assert conclusion.text.splitlines() == [
        "| lr | n | loss |",
        "|---|---|---|",
        "| 1.0 | 3 | 1 [-1.484, 3.484] |",  # t₀.₉₇₅(2) / √3 = 2.484
        "| 2.0 | 3 | 2 [-2.968, 6.968] |",
    ]
    assert (tmp_path / "table.txt").read_text() == conclusion.text + "\n"
    assert json.loads((tmp_path / "findings.json").read_text()) == {
        "lines": 6,
        "verdicts": [
            {"claim": "It holds", "holds": True, "because": "of course", "expected": True}
        ],
    }
    assert (tmp_path / "more.txt").read_text() == "more"
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    (tmp_path / "rows.jsonl").write_text("\n".join(lines[:-1]) + "\n" + lines[-1][:20])  # killed
    reproduce(STUDY, 3, tmp_path, engine="serial", say=quiet)
    assert len(DONE) == 3 and DONE[-1]["lr"] == 2.0


def test_a_failed_cell_is_not_a_record(tmp_path):
    broken = dataclasses.replace(STUDY, work=f"{__name__}:breaks_above_one")
    conclusion, grid = reproduce(broken, 2, tmp_path, engine="serial", say=lambda text: None)
    assert [row.cell["lr"] for row in grid.failed] == [2.0]
    assert len(conclusion.text.splitlines()) == 3


def breaks_above_one(cell):
    if cell["lr"] > 1:
        raise RuntimeError("no such luck")
    return work(cell)


def test_records_of_one_object_a_line_are_read_too(tmp_path):
    path = tmp_path / "old.jsonl"
    path.write_text('{"lr": 0.5, "loss": 2.0}\n{"lr": 0.5, "loss": 4.0}\n')
    assert records(read(path)) == [{"lr": 0.5, "loss": 2.0}, {"lr": 0.5, "loss": 4.0}]
    path.write_text("[1]\nnonsense\n")
    with pytest.raises(ValueError, match="give a file with one JSON object a line"):
        read(path)


def test_records_of_other_work_are_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    study = Study(cells=lambda seeds: (), work="a:b", conclude=conclude_means)
    path.write_text('{"lr": 0.5, "loss": 2.0}\n')
    assert "0.5" in conclude(study, 1, path).text
    for line in ('{"rate": 0.5, "loss": 2.0}', '{"lr": 0.5, "loss": "a"}', '{"rows": 5}'):
        path.write_text(line + "\n")
        with pytest.raises(FileError, match="has no records that this study can use"):
            conclude(study, 1, path)


def conclude_means(seeds, rows):
    return Conclusion(means(rows, by="lr", of="loss"))


def test_verdicts_are_sentences():
    assert sentences([Verdict("It helps", False, "+0.1")]) == "It helps: no (+0.1)"
    assert "verdicts" not in content(Conclusion("nothing"))


@pytest.mark.parametrize(
    ("holds", "expected", "word", "heading"),
    [
        (True, True, "reproduced", "Reproduced: 1 of 1"),
        (False, True, "not reproduced", "Not reproduced: 1 of 1"),
        (True, False, "yes", "Open questions"),
        (False, False, "no", "Open questions"),
    ],
)
def test_an_open_question_is_answered_and_an_expectation_met_or_missed(
    tmp_path, holds, expected, word, heading
):
    verdict = Verdict("It helps", holds, "+0.1", expected)
    assert reproduced([verdict]) == f"{word:14}  It helps (+0.1)"
    path = write_study_page(tmp_path / "page.html", title="?", answer="!", verdicts=[verdict])
    card = re.search(r'<div class="card">(.*?)</div>', path.read_text(), re.DOTALL)[1]
    assert heading in card and ("eproduced" in card) is expected
    assert ("It helps (+0.1)" in card) is expected
    assert (f"It helps? <b>{word.capitalize()}</b> (+0.1)" in card) is not expected


def test_a_fresh_process_is_another_one():
    import os

    found = in_fresh_process("tests.studies.made:process", of=3)
    assert found["of"] == 3 and found["pid"] != os.getpid()


# The table.


@pytest.mark.parametrize("name", names.STUDIES)
def test_a_study_can_be_asked(name):
    study, scales = names.study(name), names.scales(name)
    assert set(scales) <= set(SCALES) and "tiny" in scales
    function(study.work)
    for settings in scales.values():
        cells = list(study.cells(settings))
        assert cells and json.loads(json.dumps(cells)) == cells
        texts = [json.dumps(cell, sort_keys=True) for cell in cells]
        assert len(set(texts)) == len(texts)
    folder = FOLDER / name.partition(".")[0].replace("-", "_")
    assert (folder / "README.md").is_file()
    assert names.STUDIES[name].question.endswith("?")


@pytest.fixture
def told(capsys):
    """(README of a study, what its record says); nothing is run."""

    def ask(name: str, record: str = "") -> tuple[str, str]:
        folder = FOLDER / name.replace("-", "_")
        path = folder / f"{record or folder.name}.jsonl"
        assert main(["reproduce", name, "--records", str(path)]) == 0
        return (folder / "README.md").read_text(), capsys.readouterr().out

    return ask


@pytest.mark.parametrize(
    "name",
    [
        "wells",
        "horizons",
        "lasso",
        "sparse-recovery",
        "math-l2o",
        "m-l2o",
        "guard",
        "symbolic",
        "llm-catalyst",
    ],
)
def test_the_table_of_readme_is_that_of_the_record(told, name):
    page, out = told(name)
    assert out[out.index("| ") : out.rindex(" |") + 2] in page


@pytest.mark.parametrize("name", ["lasso", "sparse-recovery", "llm-catalyst"])
def test_the_verdicts_of_readme_are_those_of_the_record(told, name):
    page, out = told(name)
    said = [line for line in out.splitlines() if re.match(r"(not )?reproduced ", line)]
    assert len(said) > 20 and "\n".join(said) in page


def test_the_order_of_sparse_solvers_holds_on_each_of_three_matrices(told):
    page, out = told("sparse-recovery", "seeds")
    said = [line for line in out.splitlines() if line.startswith("reproduced ")]
    assert out[out.index("| solver") : out.rindex(" |") + 2] in page and "\n".join(said) in page
    (order,) = [line for line in said if "at least 8 dB below LISTA-CP, every seed" in line]
    assert "ALISTA, LISTA-CPSS, LAMP, TISTA" in order and "[-60.2, -58.2]" in out


def test_the_intervals_of_readme_are_those_of_the_record(told):
    page, out = told("techniques")
    said = re.findall(r"[+-]\d\.\d\d \[[^]]+\]", page)
    assert len(said) == 48 and [x for x in said if x not in out] == []


def test_the_iterations_of_readme_are_those_of_the_record(told):
    page, out = told("certificates")
    for line in ("104 / 203 / 293", "111 / 263 / 407", "34 / 73 / 139", "307 / 537 / 766"):
        assert line in page
        assert all(f"| {count} iterations |" in out for count in line.split(" / "))


def test_nothing_in_the_library_reads_arguments_but_the_command_line():
    for path in FOLDER.parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert "argparse" not in {alias.name for alias in node.names}, path


def test_settings_of_a_study_are_options_of_its_line(capsys, tmp_path):
    assert main(["reproduce", "horizons", "--help"]) == 0
    assert "--budget" in (said := capsys.readouterr().out) and "small: 1280000" in said
    assert main(["reproduce", "flatness", "--budget", "7"]) == 2
    assert "There is no option --budget" in capsys.readouterr().err
    assert main(["reproduce", "horizons", "--seeds", "1"]) == 2
    assert "seeds" in (said := capsys.readouterr().err) and "at least 2" in said
    assert main(["reproduce", "horizons", "--scale", "paper"]) == 2
    assert "horizons has no scale 'paper', only tiny and small" in capsys.readouterr().err


def test_studies_are_listed(capsys):
    assert main(["list", "studies", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["studies"]
    assert listed == {name: entry.question for name, entry in names.STUDIES.items()}


def test_time_is_measured_by_one_worker_alone(capsys):
    assert main(["reproduce", "speed.presets", "--workers", "2"]) == 2
    assert "measures time" in capsys.readouterr().err
