"""`steppe verify`: whether a certificate, or the claim of an optimizer, holds."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.settings import setting
from ..runs.folder import BadInput, Failed
from ..runs.subject import subject
from ..zoo.registry import PRETRAINED
from ..zoo.resolve import resolve
from .certify import FILE, SOLVER, ready, runs_of
from .parse import document, make

if TYPE_CHECKING:
    from ..certificates.certificate import Certificate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verify:
    """Check a certificate, every bound by other code; or the claim of an optimizer, by attack."""

    certificate: Path = setting(
        dataclasses.MISSING,
        "certificate file, or the folder that `steppe certify --out` wrote; or the .safetensors "
        "file, or the name of a pretrained one, of an optimizer that has a certificate or a claim "
        "inside",
        positional=True,
    )
    again: str | None = setting(
        None, "also run all its problems again, with the optimizer of this name or file"
    )
    json: bool = setting(False, "print the findings as one JSON document")
    quiet: bool = setting(False, "print nothing")


def run(values: dict) -> int:
    options = make(Verify, values)
    path = options.certificate
    if str(path) in PRETRAINED and not path.exists():
        path = resolve(str(path))
    if path.is_dir():  # of `steppe certify`, or of `steppe learn`
        solver = path / SOLVER
        path = solver if solver.exists() and not (path / FILE).exists() else path / FILE
    inside = kept_inside(path) if path.suffix == ".safetensors" else None
    if inside is None and path.suffix == ".safetensors":
        return run_claims(path, options)

    from ..certificates.audit import statement, verify
    from ..certificates.certificate import load

    cert = load(path) if inside is None else inside
    found = verify(cert)
    if inside is not None and not found:
        from ..solvers.solver import stranger
        from ..zoo.io import load as load_optimizer

        found = [wrong] if (wrong := stranger(cert, load_optimizer(path))) else []
    if not found and options.again is not None:
        found = once_more(cert, options.again)
    if options.json:
        document({"certificate": path, "digest": cert.digest, "wrong": found})
    elif not found and not options.quiet:
        how = "bears out" if options.again is None else "bears out, and its runs came out again,"
        print(f"{path}: intact; the evidence {how} all {len(cert.claims)} claims")
        print(f"  {statement(cert)}")
    if found:
        more = len(found) - 1
        rest = f" ({more} more: `steppe verify --json`)" if more else ""
        raise Failed(f"{path}: {found[0]}{rest}")
    return 0


def kept_inside(path: Path) -> "Certificate | None":
    """The certificate in the file of a solver, None if there is none in it."""
    from ..certificates.certificate import REMEDY, CertificateError, from_document
    from ..optimizers.settings import verified
    from ..store.untrusted import Source

    document = verified(path).manifest.get("certificate")
    source = Source(str(path), REMEDY, CertificateError)
    return None if document is None else from_document(document, source)


def run_claims(path: Path, options: Verify) -> int:
    """Check what the file of an optimizer claims: by its settings, then by attack."""
    from ..optimizers.settings import verified

    claimed = verified(path).manifest.get("claims")  # refuses what is not intact, and false claims
    if not claimed:
        raise BadInput(
            f"{path} claims nothing that could be checked; MathL2O and GoMathL2O with "
            "monotone=True do, and `steppe certify` makes a certificate for any optimizer."
        )
    if options.again is not None:
        raise BadInput("--again is for certificates; the claim of an optimizer needs none.")

    from ..certificates.attack import PROBLEMS, STEPS, broken
    from ..zoo.io import load

    wrong = broken(load(path), claimed)
    if options.json:
        document({"optimizer": path, "claims": claimed, "wrong": wrong})
    elif not wrong and not options.quiet:
        for said in claimed.values():
            print(
                f"{path}: intact; its settings prove, and {PROBLEMS} random problems of "
                f"{STEPS} steps bear out: {said}"
            )
    if wrong:
        raise Failed(f"{path}: {wrong[0]}")
    return 0


def once_more(cert: "Certificate", source: str) -> list[str]:
    """Run its problems again; the sentences of what is wrong."""
    from ..certificates.audit import recheck
    from ..certificates.entries import Options
    from ..store.untrusted import Source, checked

    name, hyper = cert.tasks.get("name"), cert.optimizer
    if cert.optimizer.get("kind") == "function" or not isinstance(name, str):
        raise BadInput("A certificate of a function is rechecked in Python, by `recheck`.")
    if cert.kind != "holdout":
        raise BadInput("A PAC-Bayes certificate is made again in Python, by certify_randomised.")
    about = subject(source, name)
    for word in ("hyper", "hyper", "learning_rate"):
        hyper = hyper.get(word) if isinstance(hyper, dict) else None
    place = Source("The certificate", "give that of `steppe certify`")
    options = checked(cert.tasks.get("options", {}), Options, place, "tasks.options")
    lr = checked(hyper, float | None, place, "optimizer.hyper.hyper.learning_rate")
    about = about._replace(task_options=options)
    try:
        task = about.build_task()
    except ValueError as error:
        raise BadInput(f"The task of the certificate cannot be built: {error}") from None
    from ..solvers.family import WithMinimum
    from ..solvers.solver import certified_error, runs

    opt, how = ready(about, task, cert.steps, lr, cert.seed, print)
    if (error := certified_error(cert)) is not None:
        named = {"name": cert.optimizer.get("name"), "task_name": name, "task_options": options}
        return recheck(cert, runs(WithMinimum(task), opt, error, **named))
    names, at_loss = [cert.metric["name"]], None
    if (claim := cert.claims[0])["type"] == "ends":
        from ..certificates.measured import token

        names, at_loss = [token(m["name"]) for m in claim["measures"]], claim["at_loss"]
    return recheck(cert, runs_of(about, task, opt, names, how, at_loss))
