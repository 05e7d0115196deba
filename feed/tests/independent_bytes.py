"""Basic types of the rackmark feed (docs/feed.md, section 2), and the names of codes and fields.

Names of codes come from the tables of docs/feed.md, names of fields from feed/FIELDS.md.
"""
import base64
import pathlib
import re

from independent_columns import Refused, unzigzag

FEED = pathlib.Path(__file__).resolve().parent.parent


# --- names, from the page ---------------------------------------------------

def tables(text):
    """Code lists by heading and fields by id, from the generated tables."""
    codes, fields, heading = {}, {}, ""
    for line in text.splitlines():
        if line.startswith("### "):
            heading = line[4:].strip().lower()
        if line.startswith("0 `"):
            codes[heading] = {int(number): name for number, name in re.findall(r"(\d+) `(\w+)`", line)}
        row = re.match(r"\| (\d+) \| `(\w+)` \|(?:(.*)\|)?$", line)
        if not row:
            continue
        number, name, rest = int(row[1]), row[2], [cell.strip() for cell in (row[3] or "").split("|")]
        if heading in ("fast", "inventory", "slow", "driver", "declared", "mig"):
            fields[number] = (name, rest[0], rest[1])
        else:
            codes.setdefault(heading, {})[number] = name
    return codes, fields


CODES, _ = tables((FEED.parent / "docs" / "feed.md").read_text(encoding="utf-8"))
_, FIELDS = tables((FEED / "FIELDS.md").read_text(encoding="utf-8"))


def code(heading, number):
    return CODES[heading].get(number, {"code": number})


def no_data(number):
    if number < 256:
        name = CODES["reasons for absent values"].get(number)
        return {"no_data": name} if name else {"no_data": "unrecognised", "number": number}
    number -= 256
    if number >= 1 << 32:
        raise Refused("no-data number out of range")
    return {"no_data": "error", "code": unzigzag(number)}


def signed(word):
    return word - (1 << 64) if word >> 63 else word


# --- bytes ------------------------------------------------------------------

class Bytes:
    def __init__(self, data, trace=None):
        self.data, self.at, self.trace = data, 0, trace

    def note(self, start, what, value):
        if self.trace is not None:
            self.trace.append((start, self.data[start:self.at], what, value))

    def take(self, count):
        if self.at + count > len(self.data):
            raise Refused("ends early")
        self.at += count
        return self.data[self.at - count:self.at]

    def varint(self, bits):
        value, shift = 0, 0
        for _ in range(-(-bits // 7)):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                if value >> bits:
                    raise Refused("varint too large")
                return value
        raise Refused("varint too long")

    def read(self, kind, what):
        start = self.at
        if kind == "byte":
            value = self.take(1)[0]
        elif kind in ("u16", "u32", "u64"):
            value = self.varint(int(kind[1:]))
        elif kind == "i64":
            value = unzigzag(self.varint(64))
        elif kind == "bool":
            byte = self.take(1)[0]
            if byte > 1:
                raise Refused("bool is neither 0 nor 1")
            value = bool(byte)
        elif kind == "text":
            value = self.take(self.limited(512)).decode("utf-8")
        elif kind == "name":
            value = self.take(self.limited(64)).decode("utf-8")
        elif kind == "bytes":
            value = self.take(self.limited(65536))
        elif kind == "hex16":
            value = self.take(16).hex()
        elif kind == "hex32":
            value = self.take(32).hex()
        elif kind == "hex64":
            value = self.take(64).hex()
        elif kind == "nodata":
            value = no_data(self.varint(64))
        else:
            raise AssertionError(kind)
        self.note(start, what, value)
        return value

    def limited(self, limit):
        length = self.varint(32)
        if length > limit:
            raise Refused("too long")
        return length

    def list(self, limit, what, element):
        start = self.at
        count = self.limited(limit)
        self.note(start, what + " (count)", count)
        return [element(f"{what}[{i}]") for i in range(count)]

    def option(self, what, element):
        start = self.at
        flag = self.take(1)[0]
        if flag > 1:
            raise Refused("option is neither 0 nor 1")
        if not flag:
            self.note(start, what, "none")
            return None
        self.note(start, what, "present")
        return element(what)

    def reading(self, kind, what):
        start = self.at
        which = self.varint(32)
        self.note(start, what, "value" if which == 0 else "absent")
        if which > 1:
            raise Refused("reading is neither 0 nor 1")
        return self.read("nodata" if which else kind, what)

    def code(self, heading, what):
        start = self.at
        value = code(heading, self.varint(16))
        self.note(start, what, value)
        return value

    def node(self, what):
        start = self.at
        kind = self.take(1)[0]
        if kind not in (1, 2):
            raise Refused("unknown identity class")
        value = {1: "sw:", 2: "tpm:"}[kind] + self.take(32).hex()
        self.note(start, what, value)
        return value

    def epoch(self, what):
        return format(self.read("u64", what), "016x")

    def extensions(self):
        return self.list(16, "extensions", lambda w: {
            "tag": self.read("u16", w + ".tag"),
            "bytes": base64.b64encode(self.read("bytes", w + ".bytes")).decode(),
        })
