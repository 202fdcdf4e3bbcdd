"""Is a file only read: no object of a tag, no value from elsewhere, no growth beyond what is written?"""

from pathlib import Path
from typing import Any

import pytest

from sceneleapultra.utils.core.plain_data import check_plain, read_xml, read_yaml

HEAD = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
BOMB = HEAD + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def written(folder: Path, text: str | bytes, name: str = "x.yaml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_plain_yaml_is_read_as_it_stands(tmp_path: Path) -> None:
    text = "lr: 1e-3\ndata: {store: [a.h5, b.h5], none: null, sure: true}\nfirst: &f {x: 1}\nsecond: {<<: *f, y: 2}\n"
    assert read_yaml(written(tmp_path, text)) == {
        "lr": 1e-3,
        "data": {"store": ["a.h5", "b.h5"], "none": None, "sure": True},
        "first": {"x": 1},
        "second": {"x": 1, "y": 2},
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", r"expected YAML with keys and values, it holds nothing\. Was it cut off\?"),
        ("- 1\n- 2\n", r"expected YAML with keys and values, it holds something else"),
        ("a: [1, 2", r", line 1: no valid YAML \(expected ',' or '\]'"),
        ("a: 1\na: 2\n", r", line 2: no valid YAML \(found duplicate key a\)"),
        (b"a: \xff\xfe", r"expected YAML in UTF-8"),
        ("a: \x00", r"expected YAML in UTF-8"),
        (
            "b: !!python/object/apply:os.system ['true']\n",
            r", line 1: the tag !!python/object/apply:os\.system asks",
        ),
        ("a: 1\nb: !own {c: 1}\n", r", line 2: the tag !own asks for an object"),
        (
            "a: {b: '${oc.env:HOME}'}\n",
            r"a\.b holds '\$\{oc\.env:HOME\}', which stands for a value from elsewhere",
        ),
        ("a: [x, '???']\n", r"a\.1 holds '\?\?\?'"),
        (BOMB, r"its aliases make more than 1,000,000 values"),
        ("a: &a [*a]\n", r"line 1 holds itself through an alias"),
        ("a: " + "[" * 5000, r"nested too deeply"),
        ("a: " + "[" * 70 + "]" * 70, r"nested too deeply; at most 64 levels"),
    ],
)
def test_other_yaml_is_refused_by_a_sentence(tmp_path: Path, text: str | bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=rf"x\.yaml.*{sentence}"):
        read_yaml(written(tmp_path, text))


@pytest.mark.parametrize("value", [object(), b"bytes", {1, 2}, Path("x")])
def test_other_values_than_plain_ones_are_refused(value: Any) -> None:
    check_plain({"a": [1, 2.0, True, None, "text", (1,)]}, "x.ckpt")
    with pytest.raises(
        ValueError, match=rf"x\.ckpt: a\.b\.0 holds a {type(value).__name__}; expected numbers"
    ):
        check_plain({"a": {"b": [value]}}, "x.ckpt")


def test_plain_xml_is_read(tmp_path: Path) -> None:
    root = read_xml(written(tmp_path, "<!DOCTYPE robot><robot name='a &amp; b'><link/></robot>"))
    assert root.tag == "robot" and root.attrib["name"] == "a & b" and len(root) == 1


def test_prefixes_of_names_need_no_declaration(tmp_path: Path) -> None:
    root = read_xml(written(tmp_path, "<robot><drake:group drake:kind='one'>two</drake:group></robot>"))
    assert root[0].tag == "drake:group" and root[0].attrib == {"drake:kind": "one"} and root[0].text == "two"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("<!DOCTYPE r [<!ENTITY a 'aaaa'>]><r>&a;</r>", r"declares the XML entity 'a'"),
        ("<!DOCTYPE r [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><r>&a;</r>", r"declares the XML entity 'a'"),
        ("<!DOCTYPE r [<!ENTITY % p SYSTEM 'file:///etc/passwd'> %p;]><r/>", r"declares the XML entity 'p'"),
        ("<r><link></r>", r"is not valid XML \(mismatched tag.*truncated"),
        ("", r"is not valid XML \(no element found"),
    ],
)
def test_other_xml_is_refused_by_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_xml(written(tmp_path, text, "x.urdf"))
