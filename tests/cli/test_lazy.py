"""`import steppe` is free, its flat names are those of the files."""

import subprocess
import sys

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


def test_all_lists_what_can_be_looked_up():
    assert set(steppe.__all__) == {*steppe.FILES, "__version__"}
    assert callable(steppe.data.digits)  # a package, without importing it first


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'unrol'"):
        steppe.unrol  # noqa: B018
