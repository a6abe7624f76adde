"""Names, docstrings, comments and messages use the field's words, not the old ones."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path for folder in ("facectl", "lambda_src") for path in (ROOT / folder).rglob("*.py")
)

# Parts of identifiers: `InFlightTracker` has the parts in, flight, tracker.
OLD_NAME_PARTS = frozenset(
    [
        "asking",
        "autopsy",
        "born",
        "chances",
        "chooser",
        "deaths",
        "died",
        "endure",
        "enrol",
        "enrolment",
        "enroller",
        "evidence",
        "inbox",
        "ledger",
        "linger",
        "patience",
        "patiently",
        "silences",
        "spool",
        "squared",
        "strays",
        "tally",
        "unsure",
        "whereabouts",
        "wish",
        "wished",
    ]
)
# Whole identifiers whose parts are ordinary words.
OLD_NAMES = frozenset(["aside", "give_back", "given_back"])
# In docstrings, comments, help texts, errors and log messages.
OLD_PHRASES = re.compile(
    r"\b("
    r"alike but for|asked for anew|autops(y|ies)|carr(y|ies|ied) out|chances|ends in silence"
    r"|end(ed|s) without a word|endures?|enrol|enrolment|enroller|friends|given up|gone on with"
    r"|in our words|ledger|linger(s|ing)?|patience|patiently|puts? off|ride[sn]? out|so many"
    r"|spool(s|ed)?|strangers let in|stray(s)?|tak(e|es|en) off|tally|tallies"
    r"|whereabouts|wish(es|ed)?|without a word"
    r")\b",
    re.IGNORECASE,
)
# Only where dead letters are meant: elsewhere a letter is a character.
LETTER_FILES = ("logs/", "cli/log", "cli/dlq")
OLD_LETTERS = re.compile(r"(?<!dead-)(?<!dead )(?<!dead_)\bletters?\b", re.IGNORECASE)


def _identifiers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Name):
            yield line, node.id
        elif isinstance(node, ast.Attribute):
            yield line, node.attr
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield line, node.name
        elif isinstance(node, ast.arg):
            yield line, node.arg


def _parts(identifier: str) -> set[str]:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", identifier)
    return {part.lower() for part in spaced.split("_") if part}


def _texts(source: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        # From Python 3.12 an f-string is several tokens.
        if token.type in (tokenize.COMMENT, tokenize.STRING) or (
            tokenize.tok_name[token.type] == "FSTRING_MIDDLE"
        ):
            yield token.start[0], token.string


def _patterns(path: Path) -> tuple[re.Pattern[str], ...]:
    place = str(path.relative_to(ROOT / path.relative_to(ROOT).parts[0]))
    return (OLD_PHRASES, OLD_LETTERS) if place.startswith(LETTER_FILES) else (OLD_PHRASES,)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_uses_the_words_of_the_field(path: Path) -> None:
    source = path.read_text()
    names = [
        f"{line}: {name}"
        for line, name in _identifiers(ast.parse(source))
        if name in OLD_NAMES or _parts(name) & OLD_NAME_PARTS
    ]
    phrases = [
        f"{line}: {found.group(0)}"
        for line, text in _texts(source)
        for pattern in _patterns(path)
        for found in pattern.finditer(text)
    ]

    assert not OLD_NAME_PARTS & _parts(path.stem)
    assert names == []
    assert phrases == []


@pytest.mark.parametrize("text", ["wish", "carry out the plan", "a letter", "rides out failures"])
def test_the_old_words_are_found(text: str) -> None:
    assert OLD_PHRASES.search(text) or OLD_LETTERS.search(text)


def test_a_dead_letter_queue_is_the_fields_word() -> None:
    assert not OLD_LETTERS.search("the dead-letter queue holds dead letters")
