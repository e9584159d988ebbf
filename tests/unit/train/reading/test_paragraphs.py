"""Plain text is read by paragraph."""

from pathlib import Path

from train.reading.paragraphs import paragraphs


def test_empty_lines_stand_between_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\none\u2028two\n three\n\n \nfour\n", encoding="utf-8")
    assert list(paragraphs(path)) == [
        ("a.txt:2", {"text": "one\u2028two\n three"}),
        ("a.txt:6", {"text": "four"}),
    ]
