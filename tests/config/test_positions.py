"""The line of every key: each document below holds, as every value, the number of the line it stands on."""

from __future__ import annotations

import tomllib

import pytest

from capibara.config.positions import key_lines

DOCUMENTS = {
    "empty": "",
    "only a comment": "# nothing\n",
    "one key": "a = 1",
    "no newline at the end": "\n\na = 3",
    "windows line ends": "a = 1\r\n\r\n[t]\r\nb = 4\r\n",
    "tables": "a = 1\n[t]\nb = 3\n\n  [ t . u ] # comment\nc = 6\n[t.'v w']\nd = 8\n",
    "dotted keys": 'a.b.c = 1\na . b . d = 2\n[t]\nx.y = 4\nx."z" = 5\n',
    "quoted keys": '"a b" = 1\n\'c.d\' = 2\n"e\\"] = # f" = 3\n"\\u00e9" = 4\n["x.y"]\nz = 6\n',
    "strings that look like keys": """[t] # a = 9
s = { s = '[u] # }', n = 2 }
m = {n = 3, s = "\\"} n = 9"}
n = 4
""",
    "array of tables": """[[p]]
x = 2
[[p]]
y = 4
[p.q]
z = 6
[[p.r]]
x = 8
[[p.r]]
x = 10
[[p]]
[[p.r]]
x = 13
""",
    "array over lines": "a = [\n 2, # two\n\n 4,\n [5, 5,\n 6\n],]\nb = 8\n",
    "tables in arrays": "a = [ {x = 1}, {x = 1, y = [\n2]}\n, {z = 3}]\nb = 4\n",
    "multi-line strings": 't = {s = """\n[no]\nno = 9 \\""" still\n""", n = 4}\nn = 5\n',
    "strings ending with quotes": "t = {s = '''it''''', n = 1}\nu = {s = \"\"\"a\"\"\"\"\", n = 2}\nn = 3\n",
    "literal multi-line": "t = {s = '''\n\\\n[x]\n''', n = 4}\nn = 5\n",
    "values without blanks": "a=1\n[t]\nb=[3,{c=3}]\nd={e=4,f=[4]}#x=9\ng=5\n",
    "sub table first": "[a.b]\nx = 2\n[a]\ny = 4\n",
}


def leaves(value, path=()):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if isinstance(value, int):
        yield path, value
    for name, inner in items:
        yield from leaves(inner, (*path, name))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_value_is_found_on_the_line_it_names(name):
    document = DOCUMENTS[name]
    expected = dict(leaves(tomllib.loads(document)))
    lines = key_lines(document)
    assert {path: lines[path] for path in expected} == expected


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_key_and_table_has_a_line(name):
    def paths(value, path=()):
        if path:
            yield path
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, inner in items:
            yield from paths(inner, (*path, key))

    assert set(key_lines(DOCUMENTS[name])) == set(paths(tomllib.loads(DOCUMENTS[name])))


def test_table_headers_have_the_line_they_stand_on():
    lines = key_lines("\n[rag]\n\n[rag.collections.es]\n")
    assert lines[("rag",)] == 2
    assert lines[("rag", "collections", "es")] == 4


@pytest.mark.parametrize("copies", [1, 50])
def test_lines_stay_right_when_documents_are_joined(copies):
    parts, expected = [], {}
    for copy in range(copies):
        first = 4 * copy + 1
        parts.append(f"[t{copy}]\ns = '''\n\"#''' # [x]\nn = {first + 3}\n")
        expected[(f"t{copy}", "n")] = first + 3
    lines = key_lines("".join(parts))
    assert {path: lines[path] for path in expected} == expected
