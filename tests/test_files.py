"""Results that replace no others by an accident, and yaml that can do no harm."""

import pytest

from meddet_d2 import files


def refused(path, text: str | bytes) -> str:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ValueError, match=path.name) as caught:
        files.read_yaml(path)
    assert type(caught.value) is ValueError and "\n" not in str(caught.value)
    return str(caught.value).removeprefix(str(path))


def test_nothing_is_overwritten_by_an_accident(tmp_path):
    files.refuse_existing(tmp_path / "new", ["a.csv"], force=False)
    (tmp_path / "mine.txt").write_text("")
    files.refuse_existing(tmp_path, ["a.csv", "b"], force=False)
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match="holds b already; add --force to replace earlier results"):
        files.refuse_existing(tmp_path, ["a.csv", "b"], force=False)
    files.refuse_existing(tmp_path, ["a.csv", "b"], force=True)
    with pytest.raises(ValueError, match="is a file; give --output a folder"):
        files.refuse_existing(tmp_path / "mine.txt", ["a.csv"], force=True)


def test_plain_values_and_small_aliases(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes("\ufeffa: [1, ä, 0.5, true, null]\nb: &b {c: d}\ne: [*b, *b]\nf: {<<: *b, g: 1}\n".encode())
    table = {"c": "d"}
    expected = {"a": [1, "ä", 0.5, True, None], "b": table, "e": [table, table], "f": {"c": "d", "g": 1}}
    assert files.read_yaml(path) == expected
    path.write_text("# nothing\n")
    assert files.read_yaml(path) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "is not valid yaml: while parsing"),
        ("a: \x00", "is not valid yaml: unacceptable character"),
        (b"a: \xff", "is not UTF-8 text"),
        ("[" * 5000, "nested too deeply"),
        ("a: 2001-99-99", "month must be in"),
        ("a: " + "9" * 5000, "is not valid yaml"),
        ("a: !!timestamp x", "is not valid yaml"),
        ("a: !!bool x", "is not valid yaml"),
        ("a: 1\n---\nb: 2", "is not valid yaml: expected a single document"),
        ("a: &a [*a]", "aliases"),
    ],
)
def test_what_is_refused(tmp_path, text, words):
    assert words in refused(tmp_path / "a.yaml", text)


def test_no_object_is_built(tmp_path):
    canary = tmp_path / "canary"
    said = refused(tmp_path / "a.yaml", f"a: !!python/object/apply:os.mkdir ['{canary}']")
    assert "could not determine a constructor" in said and not canary.exists()


def test_the_limit_counts_what_aliases_stand_for(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_YAML", 50)
    path = tmp_path / "a.yaml"
    path.write_text("a: &a [12345678]\nb: [*a, *a]\n")
    assert files.read_yaml(path)["b"] == [[12345678]] * 2
    assert "more than 50 characters" in refused(path, "a: &a [12345678]\nb: [*a, *a, *a, *a]\n")
    assert "more than 50 characters" in refused(path, "a: " + "b" * 60)
