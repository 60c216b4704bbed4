"""Certificates of the shipped twins: the record holds, and its numbers are those that are told."""

import copy
import dataclasses
from pathlib import Path

import pytest

from steppe.certificates.certificate import CertificateError, sha256
from steppe.studies.certificates import flatness
from steppe.studies.certificates.settings import TWINS, Flatness
from steppe.studies.study import read
from steppe.zoo.io import certificate

FOLDER = Path(flatness.__file__).parent


@pytest.fixture(scope="module")
def rows():
    return read(FOLDER / "flatness.jsonl")


@pytest.fixture(scope="module")
def concluded(rows):
    return flatness.conclude(Flatness(), rows)


def test_the_record_is_of_all_twins_at_the_end_and_at_one_training_loss(concluded):
    ends, matched = concluded.content["certificates"], concluded.content["matched"]
    assert tuple(ends) == tuple(matched) == TWINS
    assert all(cert["claims"][0]["at_loss"] is None for cert in ends.values())
    assert all(cert["claims"][0]["at_loss"] == flatness.MATCHED for cert in matched.values())


def test_those_inside_the_shipped_files_are_those_of_the_record(concluded):
    for name, cert in concluded.content["certificates"].items():
        assert certificate(name) == cert


def test_the_page_has_the_tables_of_the_record(concluded):
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    for part in concluded.text.split("\n\n"):
        assert not part.startswith("|") or part in page
    judged = [verdict for verdict in concluded.verdicts if not verdict.unjudged]
    held = sum(verdict.holds for verdict in judged)
    assert f"{held} of the {len(judged)} expectations that" in page


def test_the_documentation_quotes_two_of_them(concluded):
    page = (FOLDER.parents[2] / "docs" / "certificates.md").read_text(encoding="utf-8")
    quoted = [line[2:] for line in page.splitlines() if line.startswith("> With confidence 99 %")]
    certs = concluded.content["certificates"]
    assert quoted == [certs[name]["statement"] for name in ("rnnprop-flat-v1", "rnnprop-v1")]


def test_a_record_that_lies_is_refused(rows):
    row = rows[0]
    lying = copy.deepcopy(row.result)
    cert = lying["certificate"]
    cert["claims"][0]["bound"][0] *= 0.5
    del cert["digest"]
    cert["digest"] = sha256(cert)
    with pytest.raises(CertificateError, match="bear out other bounds"):
        flatness.conclude(Flatness(), [dataclasses.replace(row, result=lying)])


def test_a_flat_twin_is_below_only_if_its_bound_is():
    cert = lambda *bound: {"claims": [{"bound": list(bound)}], "n": 9}
    found = {
        "dm-v1": cert(0.2, 0.1, 0.1, 9.0, None),
        "dm-flat-v1": cert(0.3, 0.1, 0.05, 9.0, 4.0),
    }
    held = {v.claim.split(" than")[0]: v.holds for v in flatness.verdicts(found, "")}
    assert held == {
        "dm-flat-v1 has a lower bound of trace": False,
        "dm-flat-v1 has a lower bound of top eigenvalue": False,
        "dm-flat-v1 has a lower bound of gap": True,
        "dm-flat-v1 has a lower bound of test loss": False,
    }
    assert len(flatness.verdicts(found, " at training loss 0.1")) == 2
    unjudged = [v for v in flatness.verdicts(found, "") if v.unjudged]
    assert [v.claim for v in unjudged] == [
        "dm-flat-v1 has a lower bound of top eigenvalue than dm-v1"
    ]
