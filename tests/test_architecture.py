"""The rules of the house (docs/architecture.md), read off the source without importing it."""

import ast
import functools
import re
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "steppe"
FILES = sorted(ROOT.rglob("*.py"))

# package → packages it may import besides itself and what is below; see docs/architecture.md
MAY_IMPORT = {
    "core": set(),
    "store": {"core"},
    "flatness": {"core"},
    "data": {
        "core.types", "core.messages", "core.arguments", "core.entry", "core.lazy", "store.files",
        "store.npz", "store.untrusted", "store.tensors",
    },
    "tasks": {"core", "data"},
    "optimizers": {"core", "store", "flatness"},
    "objectives": {"core"},
    "estimators": {"core"},
    "train": {"core", "store", "objectives", "estimators", "optimizers.unrolled"},
    "interop": {"core", "store", "optimizers"},
    "torch": {  # no JAX
        "core.messages", "core.arguments", "core.expression", "store.manifest", "store.untrusted",
        "optimizers.settings", "optimizers.formulas", "zoo.resolve",
    },
    "zoo": {
        "core", "store", "flatness", "data", "tasks", "optimizers", "objectives", "estimators",
        "train",
    },
    "certificates": {"core", "store", "flatness", "optimizers", "train"},
    "evaluation": {
        "core", "store", "flatness", "data", "tasks", "optimizers", "objectives", "estimators",
        "train", "zoo", "certificates",
    },
    "solvers": {
        "core", "store", "tasks", "optimizers", "objectives", "estimators", "train", "zoo",
        "certificates", "evaluation",
    },
    "distillation": {
        "core", "store", "flatness", "data", "tasks", "optimizers", "objectives", "estimators",
        "train", "zoo", "certificates", "evaluation",
    },
    "prompt": {"core", "store", "data.fetch"},
    "report": {
        "core", "store", "train", "certificates", "evaluation", "distillation", "solvers", "prompt",
    },
    "runs": {
        "core", "store", "flatness", "data", "tasks", "optimizers", "objectives", "estimators",
        "train", "zoo", "certificates", "evaluation", "distillation", "solvers", "prompt",
        "report",
    },
    "studies": {
        "core", "store", "flatness", "data", "tasks", "optimizers", "objectives", "estimators",
        "train", "zoo", "certificates", "evaluation", "distillation", "solvers", "prompt",
        "report", "runs", "torch", "interop",
    },
}  # fmt: skip
# A sentence that leans on a noun which stands elsewhere.
RELATIVE = re.compile(r"(What|Whether|Of|Where|From|Who|Whoever|How|Which)\b")
LONG, LONGEST = 400, 600  # lines: to think about, and refused
FREE = {"cli", "__init__", "__main__", "testing"}
LAZY = {
    "torch",
    "ray",
    "pyarrow",
    "matplotlib",
    "jinja2",
    "sympy",
    "tensorboardX",
    "sklearn",
    "PIL",
    "mlxtend",
    "huggingface_hub",
    "pyoperon",
    "evosax",
    "tokenizers",
}
WHOLE = {  # files about one of them, imported inside functions
    "zoo/hub.py": "huggingface_hub",
    "studies/speed/torch_peer.py": "torch",
}


def of_every_file(check: Callable[[Path], None]) -> Callable[[], None]:
    """One test that goes through all files; the sentence of an assertion names the file."""

    def test() -> None:
        for path in FILES:
            check(path)

    test.__doc__ = check.__doc__
    return test


text = functools.cache(Path.read_text)


@functools.cache
def nodes(path: Path) -> list[ast.AST]:
    """Every node of a file, the module first."""
    return list(ast.walk(ast.parse(text(path))))


def package(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0]


def module(path: Path) -> tuple[str, ...]:
    return ("steppe", *path.relative_to(ROOT).with_suffix("").parts)


@functools.cache
def imports(path: Path, *, top_level: bool = False) -> list[tuple[int, str]]:
    """(line, absolute dotted name) of every import; of those at module level only."""
    found = nodes(path)
    if top_level:
        found = [n for n in ast.iter_child_nodes(found[0]) if not _is_type_checking(n)]
    here, said = module(path), []
    for node in found:
        if isinstance(node, ast.Import):
            said += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [] if not node.level else list(here[: len(here) - node.level])
            stem = ".".join([*base, *([node.module] if node.module else [])])
            said += [(node.lineno, f"{stem}.{alias.name}") for alias in node.names]
    return said


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


@of_every_file
def test_imports_point_down(path):
    mine = package(path)
    if mine in FREE:
        return
    assert mine in MAY_IMPORT, f"{mine} is a new package: give it a layer in docs/architecture.md"
    for line, name in imports(path):
        if not name.startswith("steppe."):
            continue
        target = name.removeprefix("steppe.")
        allowed = target.split(".")[0] == mine or any(
            target == other or target.startswith(other + ".") for other in MAY_IMPORT[mine]
        )
        assert allowed, f"{path.name}:{line} imports {name}, which is not below {mine}"


@of_every_file
def test_questions_of_the_library_are_asked_from_outside(path):
    if package(path) in ("studies", "cli"):
        return
    for line, name in imports(path):
        inside = f"{name}.".startswith("steppe.studies.")
        assert not inside, f"{path.name}:{line} imports {name}; only cli/ may"


@pytest.mark.parametrize("folder", ["optimizers/learned", "objectives", "tasks", "tasks/synthetic"])
def test_sibling_algorithms_do_not_import_each_other(folder):
    shared = {
        "coordinates",
        "extras",
        "tensors",
        "networks",
        "names",
        "suite",
        "table",
        "equations",
        "__init__",
    }
    algorithms = {p.stem for p in (ROOT / folder).glob("*.py")} - shared
    dotted = "steppe." + folder.replace("/", ".")
    for path in (ROOT / folder).glob("*.py"):
        if path.stem in shared:
            continue
        for line, name in imports(path):
            sibling = name.removeprefix(dotted + ".").split(".")[0]
            bad = name.startswith(dotted + ".") and sibling in algorithms - {path.stem}
            assert not bad, f"{path.name}:{line} imports its sibling {sibling}"


@of_every_file
def test_heavy_and_optional_packages_are_imported_inside_functions(path):
    for line, name in imports(path, top_level=True):
        own = WHOLE.get(path.relative_to(ROOT).as_posix(), package(path))  # torch is steppe.torch's
        heavy = LAZY - {own}
        assert name.split(".")[0] not in heavy, f"{path.name}:{line} imports {name} at the top"


@of_every_file
def test_optax_stays_where_it_belongs(path):
    places = {
        "train", "optimizers", "interop", "certificates", "evaluation", "runs", "cli", "testing",
        "zoo", "solvers", "studies", "distillation",
    }  # fmt: skip
    if package(path) not in places:
        assert all(name.split(".")[0] != "optax" for _, name in imports(path)), path


@of_every_file
def test_no_pickle_is_loaded(path):
    if path.name == "formats.py":  # CIFAR-10's own batches, through a whitelist of three names
        return
    for line, name in imports(path):
        assert name.split(".")[0] not in {"pickle", "dill", "cloudpickle"}, f"{path}:{line}"
    assert "allow_pickle=True" not in text(path), path


@of_every_file
def test_no_super_no_module_level_mutable_state(path):
    for node in nodes(path):
        called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if path != ROOT / "torch/optimizer.py":  # a subclass of PyTorch's
            assert not (called and node.func.id == "super"), f"{path.name}:{node.lineno}: super()"
        assert not isinstance(node, ast.Global), f"{path.name}:{node.lineno} uses global"


@functools.cache
def _classes():
    found = {}
    for path in FILES:
        for node in nodes(path):
            if isinstance(node, ast.ClassDef):
                bases = [ast.unparse(b) for b in node.bases]
                ours = [b.split(".")[-1] for b in bases if not b.startswith("torch.")]
                found[node.name] = (path, node, ours)
    return found


def test_every_class_is_abstract_or_final():
    classes = _classes()
    for name, (path, _, bases) in classes.items():
        for base in bases:
            if base in classes:
                assert base.startswith("Abstract") or classes[base][2] in (
                    ["ValueError"], ["RuntimeError"], ["Exception"],
                ), f"{path.name}: {name} inherits from {base}, which is not abstract"  # fmt: skip


def test_no_method_with_a_body_is_redefined():
    classes = _classes()

    def bodies(name):
        if name not in classes:
            return set()
        _, node, bases = classes[name]
        own = {
            f.name
            for f in node.body
            if isinstance(f, ast.FunctionDef)
            and not any("abstractmethod" in ast.unparse(d) for d in f.decorator_list)
        }
        return own.union(*(bodies(base) for base in bases))

    for name, (path, node, bases) in classes.items():
        inherited = set().union(*(bodies(base) for base in bases))
        own = {f.name for f in node.body if isinstance(f, ast.FunctionDef)}
        again = {m for m in own & inherited if not m.startswith("__")}
        assert not again, f"{path.name}: {name} redefines {sorted(again)}"


@of_every_file
def test_files_stay_short(path):
    lines = len(text(path).splitlines())
    assert lines <= LONGEST, f"{path.name} holds more than one idea"
    if lines > LONG:
        print(f"{path.name} has {lines} lines: does it hold more than one idea?")


def _file_imports() -> dict[str, set[str]]:
    """Module → modules of this library whose files it imports, inside functions too."""
    names = {".".join(module(path)): path for path in FILES if path.stem != "__init__"}
    graph = {}
    for name, path in names.items():
        typed = {
            node.lineno
            for block in nodes(path)
            if _is_type_checking(block)
            for node in ast.walk(block)
            if isinstance(node, ast.Import | ast.ImportFrom)
        }
        found = {target for line, target in imports(path) if line not in typed}
        found |= {target.rpartition(".")[0] for target in found}  # from file import name
        graph[name] = found & (names.keys() - {name})
    return graph


def _on_circle(graph: dict[str, set[str]]) -> set[str]:
    """The nodes that can be reached from themselves: what stays when leaves and roots go."""

    def reachable(start: str) -> set[str]:
        seen, todo = set(), list(graph[start])
        while todo:
            if (node := todo.pop()) not in seen:
                seen.add(node)
                todo.extend(graph[node])
        return seen

    return {node for node in graph if node in reachable(node)}


def test_a_circle_is_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}
    assert _on_circle(graph) == {"b", "c"}


def test_no_circle_of_files():
    assert not _on_circle(_file_imports())


@of_every_file
def test_no_docstring_begins_with_a_relative_clause(path):
    for node in nodes(path):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            first = (ast.get_docstring(node) or "").partition("\n")[0]
            assert not RELATIVE.match(first), f"{path.name}:{node.lineno}: {first}"
