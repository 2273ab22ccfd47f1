"""Sentences for what libyaml refuses."""

from __future__ import annotations

UNKNOWN = "it cannot be read here: look for a missing quote, bracket or ':' on this line or above it"
TAB = "a tab where spaces are expected; indent with spaces"

REASONS: tuple[tuple[str, str], ...] = (
    (
        "mapping values are not allowed",
        "a ':' that does not fit here: put a text that holds ': ' into quotes, or fix the indentation",
    ),
    ("block sequence entries are not allowed", "a '- ' that does not fit here: begin the list on a line of its own"),
    ("block collections are not allowed", "a '- ' or a field that does not fit here: begin it on a line of its own"),
    ("found a tab character", TAB),
    ("could not find expected ':'", "a line that is neither 'field: value' nor '- value'"),
    ("did not find expected ',' or ']'", "a '[' is not closed, or a ',' is missing"),
    ("did not find expected ',' or '}'", "a '{' is not closed, or a ',' is missing"),
    ("did not find expected key", "the indentation does not fit the lines above, or a quote is missing"),
    ("did not find expected '-' indicator", "the indentation does not fit the lines above, or a '- ' is missing"),
    ("did not find expected node content", "a value is missing here, or the file ends inside a bracket"),
    ("did not find expected <document start>", "a line that does not belong to the value above it"),
    ("found unexpected end of stream", "a quote is not closed"),
    ("found unexpected document indicator", "a quote is not closed before '---' or '...'"),
    (
        "found unknown escape character",
        "a '\\' inside double quotes that begins no escape; use single quotes or write '\\\\'",
    ),
    ("did not find expected hexdecimal number", "a '\\x', '\\u' or '\\U' needs two, four or eight hexadecimal digits"),
    ("invalid Unicode character escape code", "a '\\u' or '\\U' that is no character"),
    ("found character that cannot start any token", "a character that cannot begin a value; put the text into quotes"),
    ("did not find expected alphabetic or numeric", "an '&' or '*' without a name; put the text into quotes"),
    ("found undefined tag handle", "a '!' begins a tag, which is not understood here; put the text into quotes"),
    ("while parsing a tag", "a '!' begins a tag, which is not understood here; put the text into quotes"),
    ("while scanning a tag", "a '!' begins a tag, which is not understood here; put the text into quotes"),
    ("control characters are not allowed", "a control character; remove it"),
    ("found incompatible YAML document", "the version after %YAML is not 1.1 or 1.2; remove the line"),
    ("directive", "a line that begins with '%' is a directive of YAML; remove it, or put the text into quotes"),
    (
        "while scanning a block scalar",
        "a '|' or '>' with other text on its line, or with lines that are not indented",
    ),
)
"""(part of libyaml's message, our sentence); the first that fits counts. They are in its scanner.c and parser.c."""


def reason_of(message: str) -> str:
    """Return our sentence for a message of libyaml."""
    return next((ours for theirs, ours in REASONS if theirs in message), UNKNOWN)
