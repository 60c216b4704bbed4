"""docs/catalyst.md: its blocks run, with a server of this machine in the place of the reader's."""

import re
from pathlib import Path

import jax.numpy as jnp
import pytest
from prompt import stand_in
from prompt.server import good, send, serving

from steppe.prompt.client import HTTPClient

PAGE = Path(__file__).parents[2] / "docs" / "catalyst.md"
TEXT = PAGE.read_text(encoding="utf-8")
FIRST, LOCAL, SECOND = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_the_blocks_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(FIRST, PAGE.name, "exec"), names)
    assert jnp.abs(names["result"].params).max() < 1e-6
    assert capsys.readouterr().out.startswith("Loss ")
    answer = send(200, good('[{"x": 1.1, "y": 0.1}, {"x": 0.1, "y": 0.1}, {"x": 4, "y": 4}]'))
    with serving(answer) as server:
        exec(compile(SECOND.replace("http://localhost:8080", server.url), PAGE.name, "exec"), names)
    assert names["result"].history.rounds[0].adopted == '{"x": 0.1, "y": 0.1}'
    assert names["result"].loss < 1e-6 and list((tmp_path / "answers").iterdir())


def test_the_block_with_a_model_on_this_machine_runs(tmp_path, monkeypatch, capsys):
    stand_in.fetched(tmp_path, monkeypatch)
    exec(compile(LOCAL, PAGE.name, "exec"), {})
    assert capsys.readouterr().out == f"{(stand_in.TEXTS,)}\n"


def test_the_servers_of_the_table_are_addresses():
    made = re.findall(r"`(HTTPClient\(\"http.*?\))`", TEXT)
    assert len(made) == 4
    found = [eval(line, {"HTTPClient": HTTPClient}) for line in made]
    assert [str(client.address)[-3:] for client in found] == ["/v1"] * 4


def test_every_name_of_the_page_is_there():
    import steppe.prompt

    told = set(re.findall(r"`([A-Z]\w+)[`(]", TEXT)) - {"EXAMPLE_API_KEY"}
    assert told <= set(steppe.prompt.__all__) and len(told) > 15
    with pytest.raises(AttributeError):
        steppe.prompt.Nothing  # noqa: B018
