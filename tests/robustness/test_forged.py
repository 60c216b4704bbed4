"""Forged certificates are refused, each with the sentence that names the contradiction."""

import copy
import dataclasses
import re

import pytest
from robustness import forged
from robustness.forgeries import FORGERIES

from steppe.certificates import certify
from steppe.certificates.audit import recheck, verify
from steppe.certificates.certificate import CertificateError, from_document
from steppe.report import certificate_panel
from steppe.store.untrusted import Source

SOURCE = Source("c.json", "mend it", CertificateError)
# What a certificate may say without another of its numbers to compare it with. A changed level or k
# makes another claim, which the same counts may bear out.
FREE = {"seed", "repeats", "candidates", "stage", "claims.level", "claims.k"}
# Measures where runs end are not read at a step.
FREE_OF_ENDS = FREE | {"steps", "metric.signed"}
# A PAC-Bayes certificate, whose claims are of success only, has no other evidence of these.
FREE_OF_TRAINED = FREE | {"counts.failures", "metric.signed", "optimizer.hyper.log_rate"}
TINY = {"posterior.posterior"}  # weights of 1e-9 and less may be 1e-6 of themselves off


@pytest.fixture(scope="module")
def documents():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certify, "environment", certify.environment)  # `valid` puts another there
        yield forged.valid()


def test_valid_ones_are_borne_out(documents, tmp_path):
    for name, document in documents.items():
        assert forged.sentence(forged.written(document, tmp_path / "c.json")) is None, name


@pytest.mark.parametrize("kind", FORGERIES)
def test_forged_ones_are_not(documents, kind, tmp_path):
    forgery = FORGERIES[kind]
    path = forged.written(forged.forge(documents[forgery.base], forgery), tmp_path / "c.json")
    assert re.search(forgery.words, forged.sentence(path) or "nothing is wrong with it")


def test_there_are_fifty_kinds_and_all_bases(documents):
    assert len(FORGERIES) >= 50
    assert {forgery.base for forgery in FORGERIES.values()} | {"repeats"} == set(documents)


@pytest.mark.parametrize(
    "base",
    ["grid", "gaussian", "finite", "ends"]
    + [pytest.param(b, marks=pytest.mark.slow) for b in forged.HOLDOUT],
)
def test_each_number_follows_from_the_others(documents, base):
    """Alter one number alone, sign again: refused, but for the few that nothing else tells."""
    passed = set()
    for place, change in forged.alterations(documents[base]):
        document = copy.deepcopy(documents[base])
        change(document)
        try:
            found = verify(from_document(forged.signed(document), SOURCE))
        except CertificateError as error:
            found = [str(error)]
        passed |= set() if found else {place}
    trained = FREE_OF_TRAINED | TINY
    free = {"gaussian": trained, "finite": trained, "ends": FREE_OF_ENDS}
    assert passed <= free.get(base, FREE)


def test_all_of_them_have_a_panel_of_their_own_words(documents):
    for document in documents.values():
        lying = copy.deepcopy(document)
        for claim in lying["claims"]:
            claim["statement"] = "all tasks are solved"
        cert = from_document(forged.signed(document), SOURCE)
        shown = certificate_panel.panel(dataclasses.replace(cert, claims=lying["claims"]))
        said = [claim["statement"] for claim in document["claims"]]
        assert [claim["statement"] for claim in shown["claims"]] == said
        assert all(
            claim["seen"] and "100 %" not in claim["confidence"] for claim in shown["claims"]
        )
        assert bool(shown["legend"]) == (
            cert.kind == "holdout" and cert.claims[0]["type"] != "ends"
        )


def test_running_it_again(documents):
    signed = {name: from_document(document, SOURCE) for name, document in documents.items()}
    holds = {"the gap never rises": forged.never_rises}
    assert recheck(signed["grid"], forged.Descents(), holds) == []
    assert "came out otherwise" in recheck(signed["grid"], forged.Descents(lost=0.5), holds)[0]
    with pytest.raises(ValueError, match="made again by certify_randomised"):
        recheck(signed["gaussian"], forged.Descents())
