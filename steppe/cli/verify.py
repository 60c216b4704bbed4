"""`steppe verify`: is a certificate what it says?"""

from typing import TYPE_CHECKING

from ..runs.errors import BadInput, Failed
from .certify import FILE
from .options_certificates import Verify
from .output import document
from .parse import build

if TYPE_CHECKING:
    from ..certificates.certificate import Certificate


def run(values: dict) -> int:
    options = build(Verify, values)
    path = options.certificate / FILE if options.certificate.is_dir() else options.certificate

    from ..certificates.audit import verify
    from ..certificates.certificate import load

    cert = load(path)
    found = verify(cert) if options.again is None else once_more(cert, options.again)
    if options.json:
        document({"certificate": path, "digest": cert.digest, "wrong": found})
    elif not found and not options.quiet:
        how = "bears out" if options.again is None else "bears out, and its runs came out again,"
        print(f"{path}: intact; the evidence {how} all {len(cert.claims)} claims")
        print(f"  {cert.statement}")
    if found:
        raise Failed(f"{path}: {' '.join(found)}")
    return 0


def once_more(cert: "Certificate", word: str) -> list[str]:
    """Run its problems again."""
    from ..certificates.audit import recheck
    from ..tasks import suite
    from .certify import episodes, prepared
    from .evaluate import subject

    name = cert.tasks.get("name")
    if cert.optimizer.get("kind") == "function" or not isinstance(name, str):
        raise BadInput("A certificate of a function is rechecked in Python, by `recheck`.")
    about = subject(word, name)._replace(task_options=cert.tasks.get("options", {}))
    task = suite.build(name, **about.task_options)
    lr = cert.optimizer.get("hyper", {}).get("hyper", {}).get("learning_rate")
    opt, how = prepared(about, task, cert.steps, lr, cert.seed, print)
    return recheck(cert, episodes(about, task, opt, cert.metric["name"], how))
