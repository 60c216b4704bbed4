"""What a read may not do: run or import anything, write elsewhere, take long or much memory."""

import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import NamedTuple

from steppe.runs.folder import BadInput, Failed
from steppe.store.untrusted import FileError

from .readers import Reader, RefusedError

SECONDS = 2.0  # of the processor, for one file
MEMORY = 256 * 2**20  # bytes beyond what was held before
HANG = 20  # seconds of the processor after which a read is broken off
LONGEST = 1500  # characters of a message
OUTCOMES = ("loads", "refused", "foreign exceptions", "executions", "over time", "over memory")
FORBIDDEN = (
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn",
    "subprocess.Popen", "socket.connect", "socket.bind", "urllib.Request", "ctypes.dlopen",
    "pickle.find_class", "os.remove", "os.rename", "os.rmdir", "os.mkdir",
    "os.chmod", "os.symlink", "shutil.rmtree", "webbrowser.open", "code.__new__",
)  # fmt: skip

OWN = ("<frozen", "<__array_function__", "<template>")  # imports, NumPy's and Jinja's own code
KNOWN = sys.stdlib_module_names | {"steppe", "numpy", "jax", "jaxlib", "equinox", "optax", "torch"}
KNOWN |= {"matplotlib", "PIL", "jinja2", "markupsafe", "yaml", "scipy", "jaxtyping", "rich"}


class Find(NamedTuple):
    """What one try came to."""

    outcome: str
    words: str = ""


class Watch:
    """The events of the interpreter while a file is read: calls, files written, sockets."""

    def __init__(self):
        self.folder: str | None = None  # where writing is allowed; None: not watching
        self.seen: list[str] = []
        sys.addaudithook(self._hook)
        signal.signal(signal.SIGVTALRM, _hang)

    def _hook(self, event: str, arguments: tuple) -> None:
        if self.folder is None:
            return
        if event == "open":
            path, mode, _ = arguments
            writes = isinstance(mode, str) and set(mode) & set("wax+")
            if writes and isinstance(path, str) and not path.startswith((self.folder, "/dev/null")):
                self.seen.append(f"open {path!r} {mode}")
        elif event == "exec":
            where = getattr(arguments[0], "co_filename", "<string>")
            if not os.path.exists(where) and not where.startswith(OWN):
                self.seen.append(f"exec of {where}")
        elif event == "import":
            if arguments[0].partition(".")[0] not in KNOWN:
                self.seen.append(f"import {arguments[0]}")
        elif event in FORBIDDEN and not any(
            isinstance(x, str) and x.startswith(self.folder) for x in arguments
        ):
            self.seen.append(event)


def attempt(reader: Reader, path: Path, watch: Watch) -> Find:
    """Read a file, watched."""
    held, begun = _reset_peak(), time.process_time()
    watch.seen, watch.folder = [], str(path.parent)
    signal.setitimer(signal.ITIMER_VIRTUAL, HANG)
    try:
        reader.read(path)
        find = Find("loads")
    except BaseException as error:
        find = _judged(error)
        if isinstance(error, KeyboardInterrupt):
            raise
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        watch.folder = None
    seconds, grown = time.process_time() - begun, memory("VmHWM") - held
    if watch.seen:
        return Find("executions", "; ".join(watch.seen[:5]))
    if find.outcome == "foreign exceptions":
        return find
    if seconds > SECONDS:
        return Find("over time", f"{seconds:.1f} s; {find.words[:200]}")
    if grown > MEMORY:
        return Find("over memory", f"{grown / 2**20:.0f} MB; {find.words[:200]}")
    return find


def _judged(error: BaseException) -> Find:
    words = str(error)
    if isinstance(error, (FileError, RefusedError, BadInput, Failed)) or _ours(error):
        if "\n" in words or len(words) > LONGEST or not words:
            return Find("foreign exceptions", f"no sentence: {words[:400]!r}")
        return Find("refused", words)
    frames = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in frames[:-7:-1])
    return Find("foreign exceptions", f"{type(error).__name__}: {words[:300]!r} at {where}")


def _ours(error: BaseException) -> bool:
    """True for what steppe itself says of no file, or of values that no single file gives."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    where = frame.tb_frame.f_globals.get("__name__", "") if frame else ""
    return type(error) in (ValueError, FileNotFoundError) and where.startswith("steppe.")


def _reset_peak() -> int:
    """Bytes held now; the peak is counted from here."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def memory(name: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))


def _hang(*_: object) -> None:
    raise TimeoutError(f"read for {HANG} s of the processor")
