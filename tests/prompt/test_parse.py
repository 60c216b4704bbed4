"""Answers as models write them, and any text at all."""

import json
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from steppe.prompt.parse import escaped, fold, parse, tidy

THREE = ["a photo of a cat", "this is about cars", "news on space flight"]
NUMBERED = "\n".join(f"{i + 1}. {text}" for i, text in enumerate(THREE))
EXAMPLES = ("the topic of this text", "a message about sports")

GOLDEN = {  # answer → candidates
    # JSON
    "a list": (json.dumps(THREE), THREE),
    "a list in a table": (json.dumps({"candidates": THREE}), THREE),
    "a table with more": (json.dumps({"why": "I see.", "n": 3, "templates": THREE}), THREE),
    "a table of texts": (json.dumps(dict(zip("abc", THREE, strict=True))), THREE),
    "a list of tables": (json.dumps([{"template": t, "loss": 0.5} for t in THREE]), THREE),
    "a fence": (f"```json\n{json.dumps(THREE, indent=2)}\n```", THREE),
    "a fence and words": (f"Sure! Here:\n```\n{json.dumps(THREE)}\n```\nGood luck!", THREE),
    "words around": (f"I think [1] that {json.dumps(THREE)} are good.", THREE),
    "numbers before": (f"Losses [0.5, 0.3] led to {json.dumps(THREE)}", THREE),
    "breaks off": ('["a photo of a cat", "this is about cars", "news on sp', THREE[:2]),
    "a comma too many": ('["a photo of a cat", "this is about cars",]', THREE[:2]),
    "single quotes": ("['a photo of a cat', 'a child\\'s car']", [THREE[0], "a child's car"]),
    "escapes": ('["caf\\u00e9 talk", "line\\nbreak"]', ["café talk", "line break"]),
    "half a character": ('["half \\ud83d smile"]', ["half smile"]),
    "mixed kinds": ('["a photo of a cat", 3, null, ["x"], "ok then"]', [THREE[0], "ok then"]),
    # lists
    "numbered": (NUMBERED, THREE),
    "numbered to ten": ("\n".join(f"{i}) word{'s' * i}" for i in (9, 10, 11)),
                        ["word" + "s" * i for i in (9, 10, 11)]),
    "dashes": ("Here are three templates:\n\n" + "\n".join(f"- {t}" for t in THREE), THREE),
    "stars in bold": ("\n".join(f"* **{t}**" for t in THREE), THREE),
    "dots": ("\n".join(f"• “{t}”" for t in THREE), THREE),
    "labels": ("\n".join(f"Template {i}: {t}" for i, t in enumerate(THREE)), THREE),
    "bold labels": ("\n".join(f"**Template {i}:** \"{t}\"" for i, t in enumerate(THREE)), THREE),
    "numbers and labels": ("\n".join(f"{i}. Prompt: '{t}'" for i, t in enumerate(THREE)), THREE),
    "a word on each": ("1. a photo of a cat (loss: 0.532)\n2. this is about cars, loss = 0.4, "
                       "accuracy: 81%", THREE[:2]),
    "other quotes": ("1. «a photo of a cat»\n2. 「this is about cars」", THREE[:2]),
    # lines
    "lines": ("\n".join(THREE), THREE),
    "lines with scores": ("\n".join(f"{t}\nloss: 0.512\naccuracy: 0.7" for t in THREE), THREE),
    "quoted lines": ("\n".join(f'"{t}",' for t in THREE), THREE),
    # what models think and leak
    "thoughts": (f"<think>1. no\n2. not this</think>\n{NUMBERED}", THREE),
    "thoughts without end": (f"<think>{NUMBERED}", []),
    "thoughts without beginning": (f"1. no\n</think>{NUMBERED}", THREE),
    "marks of chats": ("<|im_start|>assistant\n1. a photo of a cat<|im_end|>\n</s>", THREE[:1]),
    "marks inside": ('["a photo of a <|endoftext|> cat"]', THREE[:1]),
    # nothing to use
    "nothing": ("", []),
    "blanks": (" \n\t\n", []),
    "placeholders": ('["template1", "template2", "…"]', []),
    "other placeholders": ("1. Template 1\n2. <your template>\n3. [template]\n4. ...", []),
    "a preamble alone": ("Here are three new templates:", []),
    "too short": ('["a", "ok", "?!?", "123"]', []),
    "the same again": ('["a photo of a cat", "A photo of a CAT.", "“a photo of a cat”"]',
                       THREE[:1]),
    # what SmolLM2-135M wrote
    "smollm2 echoes the list": ("Template: known already here\nLoss: 1.278\nTemplate: also known\n"
                                "Loss: 1.388", []),
    "smollm2 fills in": ('{"templates": ["template1", "template2", "template3"]}', []),
    "smollm2 with a schema": ('["What is the main idea of the text above, in a few short words?", '
                              '"The topic of this text is", "known already here"]',
                              ["What is the main idea of the text",
                               "The topic of this text is"]),
    "smollm2 repeats": ("1. This text is about cars\n2. This text is about cars\n"
                        "3. This text is about cars.\n4. This text is about planes",
                        ["This text is about cars", "This text is about planes"]),
    "smollm2 counts": ("1.278\n1.388\n1.509", []),
    "smollm2 gives numbers in a list": ("[1.278, 1.388, 1.509]", []),
    "smollm2 writes prose": ("The templates above all describe the text in a similar way to me.",
                             ["The templates above all describe the text in"]),
    "smollm2 echoes the example": (json.dumps([*EXAMPLES, "a text on something new"]),
                                   ["a text on something new"]),
}  # fmt: skip


def test_golden_answers():
    known = ["known already here", "also known", *EXAMPLES]
    assert len(GOLDEN) >= 45
    for name, (answer, expected) in GOLDEN.items():
        assert list(parse(answer, words=8, known=known).candidates) == expected, name


def test_what_is_left_out_has_a_reason_and_what_is_cut_is_told():
    found = parse('["one two three four", "one", "loss: 3", "x:", "template1"]', words=3)
    assert found.candidates == ("one two three", "one") and found.cut == ("one two three",)
    assert found.dropped == (
        ("loss: 3", "only scores"), ("x:", "an introduction"), ("template1", "a placeholder"),
    )  # fmt: skip
    assert not found.fault
    assert parse("").fault == "no usable item was found (the answer is empty)"
    assert "only scores" in parse("loss: 3").fault


TABLES = {
    "a list": ('[{"lr": 0.1}, {"lr": 0.2}]', ['{"lr": 0.1}', '{"lr": 0.2}']),
    "a table": ('Try {"lr": 0.1, "decay": 0.9}.', ['{"lr": 0.1, "decay": 0.9}']),
    "in a table": ('{"candidates": [{"lr": 0.1}]}', ['{"lr": 0.1}']),
    "by name": ('{"a": {"lr": 0.1}, "b": {"lr": 0.2}}', ['{"lr": 0.1}', '{"lr": 0.2}']),
    "pairs": ("[[0.1, 2], [0.3, 4]]", ["[0.1, 2]", "[0.3, 4]"]),
    "a vector": ("[0.1, 0.2]", ["[0.1, 0.2]"]),
    "strings": ('["lr = 0.1", "lr = 0.2"]', ["lr = 0.1", "lr = 0.2"]),
    "lines": ("1. lr = 0.1, decay = 0.9\n2. lr=3", ["lr = 0.1, decay = 0.9", "lr=3"]),
    "nothing": ("{} [] ...", []),
    "known": ('[{"lr": 0.5}]', []),
}


def test_tables_may_be_candidates():
    for name, (answer, expected) in TABLES.items():
        found = parse(answer, tables=True, words=1, known=['{"lr": 0.5}'])
        assert list(found.candidates) == expected, name


# Text with much of the syntax that is looked for, halves of characters too.
SIGNS = st.sampled_from(
    ["[", "]", "{", "}", '"', "'", ",", ":", "\n", "```", "- ", "1. ", "\\", "\\u", "<think>",
     "</think>", "<|", "|>", "loss: 1.5", "Template 1:", "\ud83d", "\u202e", "\x00", "\u2028", "**"]
)  # fmt: skip
ANY = st.lists(st.text(st.characters(exclude_categories=()), max_size=12) | SIGNS, max_size=25)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(ANY.map("".join), st.sampled_from([None, 1, 8]), st.booleans())
def test_any_text_gives_a_list(text, words, tables):
    found = parse(text, words=words, known=["abc"], tables=tables)
    for item in (*found.candidates, *(text for text, _ in found.dropped), found.fault):
        item.encode("utf-8")  # can be written to a file
        assert item.isprintable() or not item.strip()
    assert len({fold(item) for item in found.candidates}) == len(found.candidates)
    if words and not tables:
        assert all(len(item.split()) <= words for item in found.candidates)
    json.loads(f'"{escaped(text)}"')


UNITS = ["[", "{", '["', "<think>", "</think>", "1. ", "loss: 1 ", "'", "\\", "```\n", "a\n", "<|"]


def test_long_answers_take_no_long_time():
    began = time.process_time()
    for unit in UNITS:
        parse(unit * 100_000, words=8)
        parse(unit * 100_000 + "]", tables=True)
        tidy(unit * 4000 + " x")
    assert time.process_time() - began < 10  # what takes squares of the length takes minutes


def test_text_of_others_is_escaped():
    assert escaped('say "hi"\n\tnow\x00 <|im_end|>\u202e') == 'say \\"hi\\" now'
    assert "<|" not in escaped("<<|x|>|im_end|>") or "|>" not in escaped("<<|x|>|im_end|>")
    assert len(escaped("x" * 10_000)) <= 4001
    assert tidy("“ ‘ a word ’ ” ") == "a word"
