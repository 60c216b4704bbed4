"""`import steppe` is free, its flat names are those of the files."""

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import steppe


def test_importing_steppe_imports_no_jax_and_prints_nothing():
    code = "import sys, steppe; assert not {'jax', 'numpy'} & set(sys.modules); steppe.BPTT"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", steppe.__all__)
def test_every_name_is_there(name):
    assert getattr(steppe, name) is not None
    assert name in dir(steppe)


ROOT = Path(__file__).parents[2]
FACES = sorted(Path(steppe.__file__).parent.rglob("__init__.pyi"))


@pytest.mark.parametrize("stub", FACES, ids=lambda path: path.parent.name)
def test_a_stub_is_the_one_list_of_what_a_package_shows(stub):
    name = ".".join(stub.parent.relative_to(Path(steppe.__file__).parents[1]).parts)
    package = importlib.import_module(name)
    froms = [n for n in ast.parse(stub.read_text()).body if isinstance(n, ast.ImportFrom)]
    shown = {alias.asname: (node.module, alias.name) for node in froms for alias in node.names}
    assert set(shown) == set(package.__all__) and set(shown) <= set(dir(package))
    for public, (module, original) in shown.items():
        assert original == public  # what `import … as …` of one name takes for public
        found = importlib.import_module(f"{name}.{module or original}")
        assert getattr(package, public) is (getattr(found, original) if module else found)
        # A file or folder of that name would take its place as soon as it is imported.
        taken = any((stub.parent / part).exists() for part in (public, f"{public}.py"))
        assert taken == (module is None), f"{name}.{public} is a module and not only one"


def test_every_lazy_package_has_a_stub():
    root = Path(steppe.__file__).parent
    lazy = {p.parent for p in root.rglob("__init__.py") if "attach(__name__" in p.read_text()}
    assert lazy == {stub.parent for stub in FACES}


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'unrol'"):
        steppe.unrol  # noqa: B018


def blocks(path):
    """The Python of a page."""
    return re.findall(r"```python\n(.*?)```", path.read_text(), flags=re.DOTALL)


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_what_a_page_names_is_there_after_import_steppe():
    """In a process of its own, where nothing else was imported before."""
    text = "\n".join(path.read_text() for path in PAGES)
    names = set(re.findall(r"(?<![\w./-])steppe(?:\.[A-Za-z]\w*)+", text))
    assert len(names) > 20
    names = {name for name in names if importlib.util.find_spec("torch") or ".torch" not in name}
    code = "import functools, sys, steppe\nfor name in sys.argv[1:]:\n"
    code += "    functools.reduce(getattr, name.split('.')[1:], steppe)"
    done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_readme_loads_what_is_shipped_and_its_card(capsys):
    [block] = [block for block in blocks(ROOT / "README.md") if "steppe.card(" in block]
    names = {"steppe": steppe}
    exec(block, names)
    assert names["opt"].hidden == (20,)
    card = steppe.card("rnnprop-flat-v1")
    assert capsys.readouterr().out.splitlines() == [*card.failures, card.formula.text]
    assert steppe.zoo.load is steppe.load and steppe.zoo.card is steppe.card
    assert steppe.manifest("rnnprop-flat-v1")["kind"] == type(names["opt"]).__name__
