"""`steppe export`: what is written is read again, by JAX and by PyTorch."""

import json

import pytest

from steppe.zoo.io import path


def test_a_copy_is_the_same_file_and_never_overwrites(steppe, tmp_path):
    done = steppe("export", "rnnprop-v1")
    assert done.code == 0 and "RNNProp" in done.out
    assert (tmp_path / "rnnprop-v1.safetensors").read_bytes() == path("rnnprop-v1").read_bytes()
    assert steppe("info", "rnnprop-v1.safetensors").code == 0
    again = steppe("export", "rnnprop-v1")
    assert again.code == 2 and "exists already" in again.err


def test_a_run_folder_gives_its_name(steppe, finished, tmp_path):
    done = steppe("export", finished / "model.safetensors", "--json")
    said = json.loads(done.out)
    assert said["written"] == f"{finished.name}.safetensors"
    assert (tmp_path / said["written"]).read_bytes() == (
        finished / "model.safetensors"
    ).read_bytes()
    assert steppe("export", finished, "--out", "b.safetensors", "--quiet").out == ""
    assert (tmp_path / "b.safetensors").exists()


@pytest.mark.parametrize("name", ["dm-v1", "rnnprop-v1", "l2o-scale-v1"])
def test_for_pytorch_it_is_tried_there(steppe, tmp_path, name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    done = steppe("export", name, "--to", "torch", "--out", "w.safetensors")
    assert done.code == 0 and "LearnedOptimizer" in done.out
    from steppe.torch import LearnedOptimizer

    assert LearnedOptimizer([torch.nn.Parameter(torch.ones(2))], tmp_path / "w.safetensors")


def test_a_rule_with_time_and_a_decay_of_its_own_is_for_pytorch(steppe, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    import jax

    from steppe.torch import LearnedOptimizer
    from steppe.zoo import build, save

    extra = {"time_scales": (10.0,), "weight_decay": 1e-3, "key": jax.random.key(0)}
    save(tmp_path / "a.safetensors", build("rnnprop", **extra))
    done = steppe("export", "a.safetensors", "--to", "torch", "--out", "b.safetensors")
    assert done.code == 0 and "LearnedOptimizer" in done.out
    rule = LearnedOptimizer([torch.nn.Parameter(torch.ones(2))], tmp_path / "b.safetensors").rule
    assert rule.needs_params


def test_a_kind_that_pytorch_has_not_is_refused_and_nothing_written(steppe, tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from steppe.zoo import build, save

    save(tmp_path / "a.safetensors", build("learned-adam"))
    done = steppe("export", "a.safetensors", "--to", "torch", "--out", "b.safetensors")
    assert done.code == 2 and "LearnedAdam" in done.err
    assert not (tmp_path / "b.safetensors").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("export rnnprop-v1 --to hub", "--out owner/name"),
        ("export rnnprop-v1 --private", "means nothing"),
        ("export rnnprop-v1 --out a.pt", "must end in .safetensors"),
        ("export rnnprop-v1 --out no/where.safetensors", "is no folder"),
        ("export rnnprop-v2", "no pretrained optimizer"),
        ("export RUN/step-00000012.safetensors", "not of an optimizer"),
    ],
)
def test_bad_words_are_one_sentence(steppe, finished, words, said):
    done = steppe(*words.replace("RUN", str(finished)).split())
    assert done.code == 2 and said in done.err and len(done.err.strip().splitlines()) == 1
