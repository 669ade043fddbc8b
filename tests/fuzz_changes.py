"""Changes that make a damaged file of a sound one: bytes, texts, tables, trees, and what is inside of an archive."""

import csv
import gzip
import io
import json
import math
import struct
import zlib
from collections.abc import Iterator
from random import Random
from typing import Any
from xml.etree import ElementTree

import yaml

# fmt: off
NUMBERS = [
    0, -1, 1, 2, 255, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 10**18, 10**400, 0.5, -0.0, 5e-324, 1e308, -1e308,
    math.nan, math.inf, -math.inf,
]
TEXTS = [
    "", " ", "\0", "\n", "\ud800", "ä", "../../etc/passwd", "/etc/passwd", "C:\\x\\..\\y", "a" * 3000, "=1+1",
    "%s",
    "<script>alert(1)</script>", "1e999", "nan", "-1", "true", "9" * 400, "\u0663", "{0}", "[", "_BASE_",
]
THINGS = [
    None, True, False, [], {}, [[]], [None], {"": None}, [[1, 2], [3]], {"id": 1}, json.loads("[" * 60 + "]" * 60),
]
# What a yaml or a json may hold beside a tree of values.
FRAGMENTS = [
    "*a", "&a ", "&a [*a]", "<<: *a", "!!python/object/apply:os.getcwd []", "!!binary x", "!!float x", "!!set {a}",
    "!!timestamp x", "!!int 9_", "[" * 2000, "{" * 2000, "9" * 5000, "0b_", "2001-99-99", "? [1]", "---", "%YAML 9",
    "\t", "- ", ": ", "|", '"', "\\ud800", "NaN", "Infinity", "//", "/*", "1:2:3.4.5",
    "{{1: 2}: 3}",
]
# fmt: on


def change_bytes(random: Random, data: bytes) -> bytes:
    """Up to four changes, half of them in the first 400 bytes, where sizes and kinds stand; maybe cut off."""
    changed = bytearray(data)
    for _ in range(random.randrange(5)):
        end = max(len(changed), 1)
        where = random.randrange(min(end, 400)) if random.random() < 0.5 else random.randrange(end)
        kind = random.randrange(6)
        if kind < 3:
            changed[where : where + 1] = bytes([random.randrange(256)])
        elif kind == 3:
            number = random.choice([0, 1, -1, 2**15, 2**31 - 1, -(2**31), 10**6, 65535])
            packed = struct.pack(random.choice(["<", ">"]) + "q", number)
            width = random.choice([2, 4, 8])
            changed[where : where + width] = packed[:width] if random.random() < 0.5 else packed[-width:]
        elif kind == 4:
            del changed[where : where + random.randrange(1, 64)]
        else:
            changed[where:where] = changed[where : where + random.randrange(1, 64)]
    return bytes(changed[: random.randrange(len(changed) + 1)] if random.random() < 0.3 else changed)


def change_inside_gzip(random: Random, data: bytes) -> bytes:
    """The packed bytes, or what is in them."""
    if random.random() < 0.3:
        return change_bytes(random, data)
    return gzip.compress(change_bytes(random, gzip.decompress(data)), 1)


def change_inside_deflated(random: Random, data: bytes) -> bytes:
    """The same of a deflated DICOM, which is packed from the end of its file meta information."""
    start = 132 + 12 + struct.unpack("<I", data[140:144])[0]
    if random.random() < 0.3:
        return change_bytes(random, data)
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    inside = change_bytes(random, zlib.decompress(data[start:], -zlib.MAX_WBITS))
    return data[:start] + packer.compress(inside) + packer.flush()


def change_text(random: Random, data: bytes) -> bytes:
    """A word put in the place of another, or bytes changed."""
    if random.random() < 0.3:
        return change_bytes(random, data)
    words = data.decode().split(" ")
    for _ in range(random.randrange(1, 4)):
        cells = words[where := random.randrange(len(words))].split(",")
        cells[random.randrange(len(cells))] = any_text(random)
        words[where] = ",".join(cells)
    return " ".join(words).encode("utf-8", "surrogatepass")


def change_csv(random: Random, data: bytes) -> bytes:
    """A cell, a row or bytes changed."""
    if random.random() < 0.3:
        return change_bytes(random, data)
    rows = list(csv.reader(io.StringIO(data.decode())))
    for _ in range(random.randrange(1, 4)):
        row = random.choice(rows)
        kind = random.randrange(4)
        if kind == 0 and row:
            row.pop()
        elif kind == 1:
            row.append(any_text(random))
        elif row:
            row[random.randrange(len(row))] = any_text(random)
    text = io.StringIO()
    csv.writer(text, delimiter=random.choice(",,,;\t")).writerows(rows)
    return text.getvalue().encode("utf-8", "surrogatepass")


def change_json(random: Random, data: bytes) -> bytes:
    """A value of the tree changed; or a fragment put in, or bytes changed."""
    if random.random() < 0.2:
        return change_bytes(random, data)
    tree = change_tree(random, json.loads(data))
    text = json.dumps(tree, ensure_ascii=random.random() < 0.5)
    return with_fragment(random, text).encode("utf-8", "surrogatepass")


def change_yaml(random: Random, data: bytes) -> bytes:
    """The same of a yaml."""
    if random.random() < 0.2:
        return change_bytes(random, data)
    tree = change_tree(random, yaml.safe_load(data))
    return with_fragment(random, yaml.safe_dump(tree, width=1000)).encode("utf-8", "surrogatepass")


def change_xml(random: Random, data: bytes) -> bytes:
    """A text, attribute or element changed; or a fragment put in, or bytes changed."""
    if random.random() < 0.2:
        return change_bytes(random, data)
    root = ElementTree.fromstring(data)
    for _ in range(random.randrange(1, 4)):
        element = random.choice(list(root.iter()))
        kind = random.randrange(5)
        if kind == 0:
            element.text = any_text(random)
        elif kind == 1 and element.attrib:
            element.set(random.choice(sorted(element.attrib)), any_text(random))
        elif kind == 2 and len(element):
            element.remove(random.choice(list(element)))
        elif kind == 3 and len(element):
            element.append(random.choice(list(element)))
        else:
            element.tag = random.choice(["annotation", "image", "box", "polygon", "object", "size", "x", "track"])
    text = ElementTree.tostring(root, encoding="unicode")
    if random.random() < 0.1:
        text = random.choice(['<!DOCTYPE a [<!ENTITY b "c">]>', '<?xml version="1.0" encoding="utf-7"?>', "<a>"]) + text
    return text.encode("utf-8", "surrogatepass")


def change_tree(random: Random, tree: Any) -> Any:
    """One to three places of a tree of dicts and lists replaced, removed or repeated."""
    for _ in range(random.randrange(1, 4)):
        places = list(_places(tree))
        if not places or random.random() < 0.02:
            return any_value(random)
        holder, key = random.choice(places)
        kind = random.randrange(8)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, list):
            holder.insert(key, holder[key])
        elif kind == 2 and isinstance(holder, dict):
            holder[any_text(random)] = holder.pop(key)
        elif kind == 3:
            # The value of another place.
            other, there = random.choice(places)
            if there in other if isinstance(other, dict) else there < len(other):
                holder[key] = json.loads(json.dumps(other[there]))
        else:
            holder[key] = any_value(random)
    return tree


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield tree, key
        yield from _places(value)


def with_fragment(random: Random, text: str) -> str:
    """The text, one time in five with a fragment of a yaml or json somewhere."""
    if random.random() < 0.8:
        return text
    where = random.randrange(len(text) + 1)
    return text[:where] + random.choice(FRAGMENTS) + text[where + random.choice([0, 0, 1, 5]) :]


def any_value(random: Random) -> Any:
    value = random.choice(random.choice([NUMBERS, TEXTS, THINGS]))
    return json.loads(json.dumps(value)) if isinstance(value, list | dict) else value


def any_text(random: Random) -> str:
    return random.choice(TEXTS) if random.random() < 0.6 else str(random.choice(NUMBERS))
