"""Studies: questions of papers, asked again from scratch, with an answer that says what was seen.

    steppe reproduce flatness --scale tiny

A study is three files: `design` (what is compared, fixed before anything runs), `work` (one cell,
from a plain dictionary to plain numbers), `findings` (from the numbers to a table and sentences).
"""
