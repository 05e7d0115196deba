"""Column coding of fast telemetry, written from docs/feed.md section 10 alone."""

MASK = (1 << 64) - 1


class Refused(Exception):
    """The input breaks a rule of the page."""


def unzigzag(n):
    return (n >> 1) ^ -(n & 1)


class Bits:
    def __init__(self, data, trace=None):
        self.size, self.at, self.trace = len(data) * 8, 0, trace
        self.text = "".join(f"{byte:08b}" for byte in data)

    def note(self, start, what, value):
        if self.trace is not None:
            self.trace.append((self.text[start:self.at], what, value))

    def raw(self, count):
        if self.at + count > self.size:
            raise Refused("bit stream ends early")
        self.at += count
        return int(self.text[self.at - count:self.at] or "0", 2)

    def bits(self, count, what):
        start = self.at
        value = self.raw(count)
        self.note(start, what, value)
        return value

    def natural(self, what, signed_number=False):
        start, zeros = self.at, 0
        while not self.raw(1):
            zeros += 1
            if zeros > 6:
                raise Refused("natural too long")
        length = (1 << zeros) + self.raw(zeros)
        if length > 65:
            raise Refused("natural too long")
        m = (1 << (length - 1)) + self.raw(length - 1)
        if m > 1 << 64:
            raise Refused("natural too large")
        value = unzigzag(m - 1) if signed_number else m - 1
        self.note(start, what, value)
        return value

    def number(self, what):
        return self.natural(what, True)

    def rice(self, k, what):
        start, q = self.at, 0
        while self.raw(1):
            q += 1
            if q == 20:
                value = self.raw(64)
                break
        else:
            value = (q << k) + self.raw(k)
            if value > MASK:
                raise Refused("rice quotient too large")
        self.note(start, what, unzigzag(value))
        return value

    def list(self, rows, what):
        least = self.number(what + ": least")
        width = self.natural(what + ": width") if rows > 1 else 0
        if width > 64:
            raise Refused("list too wide")
        return [least + (self.bits(width, f"{what}: above least, row {i}") if width else 0) for i in range(rows)]

    def finish(self):
        left = self.size - self.at
        if left >= 8 or (left and self.bits(left, "fill")):
            raise Refused("bits follow the last column")


def columns(bits, labels, gpus, samples, mono, no_data):
    cells, table, filled, last_map = gpus * samples, [], [], None
    for position, label in enumerate(labels):
        presence, last_map = read_presence(bits, label, cells, last_map, no_data)
        column = list(presence)
        present = [i for i in range(cells) if column[i] is None]
        if present:
            if bits.bits(1, f"{label}: general form"):
                general(bits, label, column, present, gpus, samples, filled[:position], mono)
            else:
                value = bits.number(f"{label}: the one value") & MASK
                for i in present:
                    column[i] = value
        row_filled, last = [], 0
        for i in range(cells):
            if i % samples == 0:
                last = 0
            if not isinstance(column[i], dict):
                last = column[i]
            row_filled.append(last)
        filled.append(row_filled)
        table.append(column)
    return table


def read_presence(bits, label, cells, last_map, no_data):
    if not bits.bits(1, f"{label}: something absent"):
        return [None] * cells, last_map
    if not bits.bits(1, f"{label}: presence said here"):
        if last_map is None:
            raise Refused("no presence map to repeat")
        return last_map, last_map
    if bits.bits(1, f"{label}: all absent"):
        return [no_data(bits.natural(f"{label}: reason"))] * cells, last_map
    out = []
    while len(out) < cells:
        kind = bits.natural(f"{label}: map kind")
        length = bits.natural(f"{label}: map length - 1") + 1
        if length > cells - len(out):
            raise Refused("presence map runs over the column")
        out += [no_data(kind - 1) if kind else None] * length
    return out, out


def general(bits, label, column, present, gpus, samples, earlier, mono):
    cells = gpus * samples
    base = [0] * cells
    if bits.bits(1, f"{label}: leans"):
        kind = bits.bits(2, f"{label}: kind of lean")
        back = bits.natural(f"{label}: back")
        if kind == 3 or back >= len(earlier) or (kind == 2 and mono is None):
            raise Refused("bad lean")
        other = earlier[-1 - back]
        if kind == 0:
            base = other
        elif kind == 1:
            base = [-value for value in other]
        else:
            for start in range(0, cells, samples):
                total = 0
                for i in range(1, samples):
                    total = (total + other[start + i] * ((mono[i] - mono[i - 1]) & MASK)) & MASK
                    base[start + i] = total // 1000
    shared = len(present) == cells and gpus > 1 and bits.bits(1, f"{label}: shared")
    divisor = 1
    if bits.bits(1, f"{label}: divisor"):
        shift = bits.natural(f"{label}: shift")
        odd = 2 * bits.natural(f"{label}: odd") + 1
        if shift > 62 or not 2 <= odd << shift <= 1 << 62:
            raise Refused("bad divisor")
        divisor = odd << shift
    order = bits.bits(1, f"{label}: order")
    rows = [[i for i in present if i // samples == gpu] for gpu in range(1 if shared else gpus)]
    rows = [row for row in rows if row]
    starts = bits.list(len(rows), f"{label}: start")
    drifts = bits.list(len(rows), f"{label}: drift") if order else [0] * len(rows)
    parameters = bits.list(len(rows), f"{label}: parameter")
    if any(not 0 <= p <= 64 for p in parameters):
        raise Refused("bad rice parameter")
    coded = {}
    for row, start, drift, parameter in zip(rows, starts, drifts, parameters):
        def residual():
            return unzigzag(bits.rice(parameter - 1, f"{label}: residual")) if parameter else 0
        q = start
        for n, i in enumerate(row):
            if order:
                q = q if n == 0 else q + drift + residual()
            else:
                q = start + residual()
            coded[i] = q * divisor
    for i in present:
        column[i] = (coded[i % samples if shared else i] + base[i]) & MASK
