"""One contract for all codecs; the nearest token against brute force."""

import json
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steppe.prompt.codecs import Choice, CodecError, Composite, Numeric
from steppe.prompt.soft_prompt import SoftPrompt, Tokenizer, Words, readable

RNG = np.random.default_rng(0)
TABLE = RNG.standard_normal((50, 6)).astype(np.float32)
WORDS = Words([f"w{i}" for i in range(50)])
RATES = Numeric(("lr", "decay"), (1e-4, 0.0), (1.0, 1.0), log=(True, False), decimals=2)
CODECS = {  # a codec, and parameters far and near
    "numeric": (Numeric(("a", "b"), (-1.0, 0.25), (1.0, 3.0)), [[0.12345, 1.0], [9.0, -9.0]]),
    "numeric-log": (RATES, [[math.log(0.0123), 0.5], [-800.0, 800.0]]),
    "numeric-shape": (Numeric(("a", "b", "c", "d"), (0.0,) * 4, (1.0,) * 4), [RNG.random((2, 2))]),
    "numeric-odd-bounds": (Numeric(("a",), (0.12345,), (0.12349,), decimals=2), [[0.0], [1.0]]),
    "choice": (Choice({"red": [0.0, 1.0], "blue": [1.0, 0.0]}), [[0.1, 0.8], [7.0, -7.0]]),
    "soft": (SoftPrompt(TABLE, WORDS, 3), list(RNG.standard_normal((4, 3, 6)))),
    "soft-l2": (SoftPrompt(TABLE, WORDS, 3, metric="l2", filler=4), list(RNG.random((4, 3, 6)))),
    "soft-dot": (SoftPrompt(TABLE, WORDS, 3, metric="dot", allowed=range(9)), [np.zeros((3, 6))]),
    "composite": (
        Composite({"prompt": SoftPrompt(TABLE, WORDS, 2), "rates": RATES}),
        [(RNG.random((2, 6)), np.array([math.log(0.1), 0.2]))],
    ),
}  # fmt: skip


def leaves(x):
    return x if isinstance(x, tuple) else (x,)


def test_every_codec_keeps_the_contract():
    for name, (codec, points) in CODECS.items():
        for point in points:
            for dtype in (np.float32, np.float64):
                like = tuple(np.asarray(leaf, dtype) for leaf in leaves(point))
                like = like if isinstance(point, tuple) else like[0]
                before = [leaf.copy() for leaf in leaves(like)]
                text = codec.encode(like)
                found = codec.decode(text, like)  # what it says, it reads
                for new, old, was in zip(leaves(found), leaves(like), before, strict=True):
                    assert new.shape == old.shape and new.dtype == dtype, name
                    assert np.isfinite(new).all() and new is not old
                    np.testing.assert_array_equal(old, was)  # it changes nothing
                # and says the same again; by products, a token need not be nearest to itself
                assert name == "soft-dot" or codec.encode(found) == text, name
        rng = np.random.default_rng(1)
        drawn = [codec.draw(rng) for _ in range(20)]
        again = np.random.default_rng(1)
        assert drawn == [codec.draw(again) for _ in range(20)] and len(set(drawn)) > 1
        for text in drawn:
            codec.decode(text, like)
            kind = codec.schema()["type"]
            assert isinstance(json.loads(text), dict) if kind == "object" else kind == "string"
        assert codec.describe() and json.dumps(codec.schema())
        assert codec.words is None or codec.words > 0


NAMES = ["a", "b", "lr", "decay", "prompt", "rates", "x"]
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=40),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["a", "b", "lr", "decay", "prompt", "rates", "x"]), inner
            )
        ),
        max_leaves=6,
    ).map(lambda x: json.dumps(x)),
    st.just("[" * 5000),
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(TEXTS)
def test_any_text_is_read_or_refused(text):
    for name, (codec, points) in CODECS.items():
        like = tuple(map(np.asarray, leaves(points[0])))
        like = like if isinstance(points[0], tuple) else like[0]
        try:
            found = codec.decode(text, like)
        except CodecError as error:
            assert str(error).endswith("."), name
            continue
        for new, old in zip(leaves(found), leaves(like), strict=True):
            assert new.shape == old.shape and np.isfinite(new).all()


def brute(x, e, metric):
    """s of one row and one token, number by number."""
    dot = sum(float(a) * float(b) for a, b in zip(x, e, strict=True))
    if metric == "dot":
        return dot
    if metric == "l2":
        return -sum((float(a) - float(b)) ** 2 for a, b in zip(x, e, strict=True))
    return dot / math.sqrt(sum(float(a) ** 2 for a in x) * sum(float(b) ** 2 for b in e))


def test_the_token_of_a_row_is_the_most_similar_one_and_not_the_least():
    prompt = RNG.standard_normal((8, 6))
    for metric in ("cosine", "l2", "dot"):
        for allowed in (None, [49, 3, 7, 20]):
            codec = SoftPrompt(TABLE, WORDS, 8, metric=metric, allowed=allowed)
            among = sorted(allowed or range(50))
            s = [[brute(row, TABLE[i], metric) for i in among] for row in prompt]
            most = [among[int(np.argmax(row))] for row in s]
            least = [among[int(np.argmin(row))] for row in s]
            assert codec.nearest(prompt) == most != least
            assert codec.encode(prompt) == " ".join(f"w{i}" for i in most)
    # Of the table's own rows each is its own nearest, by angle and by distance.
    for metric in ("cosine", "l2"):
        codec = SoftPrompt(TABLE, WORDS, 50, metric=metric)
        assert codec.nearest(TABLE) == list(range(50))


def test_chunks_change_no_bit_and_the_lowest_of_equal_tokens_is_taken():
    table = np.concatenate([TABLE, TABLE[::-1], TABLE])  # every token three times
    prompt = np.concatenate([TABLE[:20], 3 * RNG.standard_normal((20, 6))])
    for metric in ("cosine", "l2", "dot"):
        found = [
            SoftPrompt(table, WORDS, 40, metric=metric, chunk=chunk).nearest(prompt)
            for chunk in (1, 7, 50, 64, 10_000)
        ]
        assert all(ids == found[0] for ids in found) and max(found[0]) < 50
    zeros = SoftPrompt(np.concatenate([np.zeros((2, 6)), TABLE]), WORDS, 1)
    assert zeros.nearest(TABLE[5:6]) == [7] and zeros.nearest(np.zeros((1, 6))) == [0]


def test_text_is_put_in_without_special_tokens_cut_and_filled():
    like = RNG.standard_normal((4, 6))
    codec = SoftPrompt(TABLE, WORDS, 4, special=[0, 1])
    found = codec.decode("w0 w9 unknown w1 w8", like)
    np.testing.assert_array_equal(found, np.concatenate([TABLE[[9, 8]], like[2:]]))
    np.testing.assert_array_equal(codec.decode("w2 w3 w4 w5 w6 w7", like), TABLE[[2, 3, 4, 5]])
    filled = SoftPrompt(TABLE, WORDS, 4, filler=7).decode("w9", like)
    np.testing.assert_array_equal(filled, TABLE[[9, 7, 7, 7]])
    for text in ("", "w0 w1", "nothing known"):
        with pytest.raises(CodecError, match="no word of the vocabulary"):
            codec.decode(text, like)
    assert 0 not in codec.nearest(TABLE[:4]) and 1 not in codec.nearest(TABLE[:4])
    odd = SoftPrompt(TABLE, Tokenizer(lambda text: [-1, 99, 3], lambda ids: "x"), 2)
    np.testing.assert_array_equal(odd.decode("any", like[:2]), [TABLE[3], like[1]])


def test_a_server_can_be_held_to_some_words():
    codec = SoftPrompt(TABLE, WORDS, 3, only=("w1", "w.2"))
    pattern = re.compile(codec.schema()["pattern"])
    assert pattern.search("w1 w.2 w1") and json.dumps(codec.schema())
    for text in ("w1 w1", "w1 w1 w1 w1", "w1 wx2 w1", "w1 w3 w1", "w1  w1 w1"):
        assert not pattern.search(text)


def test_readable_tokens():
    texts = ["[CLS]", "[unused7]", "<s>", "<|im_end|>", "<0x0A>", "##ing", "good", " a", "\n", " ",
             "\ufffd", "", "day", "\x07"]  # fmt: skip
    tokenizer = Tokenizer(lambda text: [], lambda ids: texts[ids[0]])
    assert [texts[i] for i in readable(tokenizer, len(texts))] == ["good", " a", "day"]
    assert "##ing" in [texts[i] for i in readable(tokenizer, len(texts), whole_words=False)]


def test_numbers_are_said_as_people_say_them_and_read_however_they_come():
    point = np.array([math.log(0.0123456), 0.98765])
    assert RATES.encode(point) == '{"lr": 0.0123, "decay": 0.99}'
    assert RATES.encode(np.array([math.log(0.0123456), -0.001])) == '{"lr": 0.0123, "decay": 0.0}'
    for text in (
        '{"lr": 0.01, "decay": 0.5}', '{"DECAY": 0.5, "LR": 1e-2}', "[0.01, 0.5]",
        "lr = 0.01, decay = 0.5", "lr: 1e-2; decay: .5", 'Let "lr": 0.01 and "decay": 0.5',
    ):  # fmt: skip
        found = RATES.decode(text, point)
        np.testing.assert_allclose(found, [math.log(0.01), 0.5], rtol=1e-12)
    for text, words in (
        ('{"lr": 0.01}', "lr, decay and no others"),
        ('{"lr": 0.01, "decay": 0.5, "more": 1}', "no others"),
        ('{"lr": 2, "decay": 0.5}', r"lr must lie from 0\.0001 to 1, got 2\."),
        ('{"lr": true, "decay": 0.5}', "lr must be a number"),
        ('{"lr": NaN, "decay": 0.5}', "lr must be a number"),
        ('{"lr": "0.1", "decay": 0.5}', "lr must be a number"),
        ("[0.01]", "lr, decay"),
        ("", "lr, decay"),
    ):
        with pytest.raises(CodecError, match=words):
            RATES.decode(text, point)
    assert "lr from 0.0001 to 1 (think in powers of ten)" in RATES.describe()


def test_choices_and_parts():
    codec, _ = CODECS["choice"]
    np.testing.assert_array_equal(codec.decode(' "Red" ', np.zeros(2)), [0, 1])
    with pytest.raises(CodecError, match="one of red, blue"):
        codec.decode("green", np.zeros(2))
    codec, ((prompt, rates),) = CODECS["composite"]
    table = json.loads(codec.encode((prompt, rates)))
    assert set(table) == {"prompt", "rates"} and table["rates"] == {"lr": 0.1, "decay": 0.2}
    for text, words in (
        ('{"prompt": "w1"}', "table of prompt, rates"), ("[1]", "table of prompt, rates"),
        ('{"prompt": "?", "rates": {"lr": 0.1, "decay": 0}}', "^prompt: It has no word"),
        ('{"prompt": "w1", "rates": {"lr": 9, "decay": 0}}', "^rates: lr must lie"),
    ):  # fmt: skip
        with pytest.raises(CodecError, match=words):
            codec.decode(text, (prompt, rates))


def test_parameters_without_text_are_refused():
    for name, (codec, points) in CODECS.items():
        bad = tuple(np.full(np.shape(leaf), np.nan) for leaf in leaves(points[0]))
        with pytest.raises(CodecError, match="finite"):
            codec.encode(bad if isinstance(points[0], tuple) else bad[0])
        assert name
    with pytest.raises(ValueError, match="names 2 numbers, but the parameters are 3"):
        RATES.encode(np.zeros(3))
    with pytest.raises(ValueError, match=r"the prompt is \(2, 6\), expected \(3, 6\)"):
        CODECS["soft"][0].encode(np.zeros((2, 6)))
    with pytest.raises(ValueError, match="a tuple of 2 leaves"):
        CODECS["composite"][0].encode(np.zeros(3))


def test_bad_codecs_are_refused():
    numeric = lambda **how: Numeric(
        **({"names": ("a", "b"), "low": (0.0, 0.0), "high": (1.0, 1.0)} | how)
    )
    for make, words in (
        (lambda: numeric(names=("a", "A")), "names must differ"),
        (lambda: numeric(names=()), "one at least"),
        (lambda: numeric(names=["a", "b"]), "a tuple of names"),
        (lambda: numeric(names=("a", "b c")), "a name must be a word"),
        (lambda: numeric(low=(0.0,)), "as many bounds"),
        (lambda: numeric(low=(2.0, 0.0)), "which are none"),
        (lambda: numeric(high=(math.inf, 1.0)), "high must be a finite number"),
        (lambda: numeric(log=(True, False)), "logarithmic, so that low must be positive"),
        (lambda: numeric(decimals=-1), "decimals must be"),
        (lambda: Choice({}), "names that differ"),
        (lambda: Choice({"a": [0.0], "A": [1.0]}), "names that differ"),
        (lambda: Choice({"a": [0.0], "b": [1.0, 2.0]}), "one shape"),
        (lambda: Choice({"a": [math.nan]}), "finite"),
        (lambda: Composite({}), "one codec at least"),
        (lambda: Composite({"a": 3}), "a codec such as"),
        (lambda: SoftPrompt(TABLE[0], WORDS, 1), r"\(tokens, d\), got \(6,\)"),
        (lambda: SoftPrompt(TABLE, WORDS, 0), "rows must be"),
        (lambda: SoftPrompt(TABLE, WORDS, 1, metric="cos"), "metric must be"),
        (lambda: SoftPrompt(TABLE, WORDS, 1, allowed=[50]), "a token must be"),
        (lambda: SoftPrompt(TABLE, WORDS, 1, allowed=[1], special=[1]), "no token is allowed"),
        (lambda: SoftPrompt(TABLE, WORDS, 1, filler=-1), "a token must be"),
        (lambda: SoftPrompt(TABLE, WORDS, 1, chunk=0), "chunk must be"),
        (lambda: SoftPrompt(TABLE * np.nan, WORDS, 1), "must be finite"),
    ):
        with pytest.raises(ValueError, match=words):
            make()
