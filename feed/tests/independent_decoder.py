#!/usr/bin/env python3
"""A decoder of the rackmark feed written from docs/feed.md alone.

    independent_decoder.py FOLDER            decode every FOLDER/*.bin and compare with FOLDER/*.json,
                                             and the downlink frames in FOLDER/downlink
    independent_decoder.py --frame FILE      explain a frame byte by byte
    independent_decoder.py --bits FILE       explain the bit stream of a fast telemetry frame

Python's own library only. Signatures are checked when the package
`cryptography` is there.
"""
import base64
import hashlib
import json
import pathlib
import sys

from independent_bytes import FEED, FIELDS, Bytes, code, no_data, signed
from independent_columns import Bits, Refused, columns, unzigzag
from independent_downlink import decode_downlink


# --- conditions and the extensions of capacity --------------------------------

def condition(p):
    return {
        "code": p.read("name", ""),
        "key": p.read("u32", ""),
        "severity": p.code("severity", ""),
        "action": p.code("action", ""),
        "since_unix_ms": p.read("u64", ""),
        "acknowledged": p.read("bool", ""),
        "detail": p.read("text", ""),
    }


def slot(p):
    return p.option("", lambda w: p.read("byte", w))


def known_extensions(extensions):
    """What the assigned tags say: lists of one tag are joined, null stands for what does not parse."""
    entries = {
        1: ("conditions", lambda p: {"slot": slot(p), "condition": condition(p)}),
        2: ("maintenance", lambda p: {
            "slot": slot(p), "until_unix_ms": p.read("u64", ""), "reason": p.read("text", ""),
        }),
        3: ("node_verdict", lambda p: {"verdict": p.code("verdict", ""), "reason": p.read("text", "")}),
    }
    out = {}
    for tag, (name, entry) in entries.items():
        contents = [base64.b64decode(e["bytes"]) for e in extensions if e["tag"] == tag]
        if not contents:
            continue
        try:
            found = []
            for content in contents:
                p = Bytes(content)
                found += [entry(p)] if tag == 3 else p.list(512, "", lambda w, p=p: entry(p))
                if p.at != len(content):
                    raise Refused("bytes follow the content of an extension")
            if tag == 3 and len(found) > 1:
                raise Refused("the node's verdict stands twice")
            out[name] = found[0] if tag == 3 else found
        except Refused:
            out[name] = None
    return out


def succession(p):
    """One succession, and the bytes that its operator signs."""
    start = p.at
    said = {
        "old": p.node(""),
        "new": p.node(""),
        "reason": p.code("succession reason", ""),
        "ticket": p.read("text", ""),
        "issued_unix_ms": p.read("u64", ""),
        "operator": p.read("hex32", ""),
    }
    signed_bytes = b"rackmark/feed/v1/succession\0" + p.data[start:p.at]
    said["signature"] = p.read("hex64", "")
    return said, signed_bytes


def successions(extensions):
    """Those of a session record, with what is signed: None where there are none, or they do not parse."""
    contents = [base64.b64decode(e["bytes"]) for e in extensions if e["tag"] == 16]
    if len(contents) != 1:
        return None
    try:
        p = Bytes(contents[0])
        found = p.list(4, "", lambda w: succession(p))
        return found if p.at == len(contents[0]) else None
    except Refused:
        return None


def successions_hold(body):
    """False where one is not signed by its operator, or they do not lead to this node step by step."""
    steps = successions(body["extensions"]) or []
    ids = [said["old"] for said, _ in steps] + [body["node"]]
    linked = all(said["new"] == after for (said, _), after in zip(steps, ids[1:]))
    return linked and len(set(ids)) == len(ids) and all(
        verify(bytes.fromhex(said["operator"]), bytes.fromhex(said["signature"]), signed_bytes) is not False
        for said, signed_bytes in steps)


def refusal(extensions):
    """Why a command was refused, where the reply says so by number."""
    for content in [base64.b64decode(e["bytes"]) for e in extensions if e["tag"] == 17]:
        try:
            p = Bytes(content)
            found = p.code("refusal", "")
            if p.at != len(content):
                raise Refused("bytes follow the content of an extension")
            return {"refusal": found}
        except Refused:
            return {"refusal": None}
    return {}


# --- bodies -----------------------------------------------------------------

class Bodies:
    def __init__(self, data):
        self.data = data
        self.units = {}

    def name(self, number):
        if number not in FIELDS:
            return f"field_{number}"
        name, _, unit = FIELDS[number]
        if unit:
            self.units[name] = unit
        return name

    def value(self, what):
        d = self.data
        kind = d.read("u32", what + " (kind)")
        kinds = ("u64", "i64", "text", "bool", "nodata")
        if kind >= len(kinds):
            raise Refused("unknown kind of value")
        return d.read(kinds[kind], what)

    def fields(self, what):
        pairs = self.data.list(512, what, lambda w: (self.name(self.data.read("u16", w + ".id")), self.value(w)))
        return dict(pairs)

    def groups(self, what):
        return self.data.list(16, what, lambda w: {
            "claim": self.data.code("claim class", w + ".claim"),
            "fields": self.fields(w + ".fields"),
        })

    def mig(self, what):
        return self.data.list(64, what, lambda w: {
            "index": self.data.read("u16", w + ".index"),
            "fields": self.fields(w + ".fields"),
        })

    def session(self):
        d = self.data

        def previous(what):
            return {
                "session": d.read("hex16", what + ".session"),
                "spool_epoch": d.epoch(what + ".spool_epoch"),
                "ends": d.list(32, what + ".ends", lambda w: {
                    "stream": d.code("stream", w + ".stream"),
                    "last_seq": d.read("u64", w + ".last_seq"),
                }),
            }

        start = d.at
        out = {
            "node": d.node("node"),
            "site": d.read("text", "site"),
            "node_name": d.read("text", "node_name"),
            "identity_public_key": d.read("hex32", "identity_public_key"),
            "session_public_key": d.read("hex32", "session_public_key"),
            "boot_id": d.read("hex16", "boot_id"),
            "spool_epoch": d.epoch("spool_epoch"),
            "started_unix_ms": d.read("u64", "started_unix_ms"),
            "agent_version": d.read("text", "agent_version"),
            "previous": d.option("previous", previous),
            "extensions": self.data.extensions(),
        }
        self.claim = d.data[start:d.at]
        out["identity_signature"] = d.read("hex64", "identity_signature")
        if any(extension["tag"] == 16 for extension in out["extensions"]):
            found = successions(out["extensions"])
            out["successions"] = None if found is None else [said for said, _ in found]
        return out

    def event(self):
        d = self.data
        out = {"occurred_unix_ms": d.read("u64", "occurred_unix_ms")}
        kind = d.read("u16", "kind")
        payload = Bytes(d.read("bytes", "payload"))
        out["kind"] = code("event (body 1)", kind)
        out["details"] = self.details(kind, payload)
        if payload.at != len(payload.data):
            raise Refused("bytes follow the event payload")
        out["gpu"] = d.option("gpu", lambda w: {
            "slot": d.read("byte", w + ".slot"),
            "index": d.option(w + ".index", lambda v: d.read("u32", v)),
            "uuid": d.option(w + ".uuid", lambda v: d.read("text", v)),
            "serial": d.option(w + ".serial", lambda v: d.read("text", v)),
            "pci_address": d.option(w + ".pci_address", lambda v: d.read("text", v)),
        })
        out["extensions"] = self.data.extensions()
        return out

    @staticmethod
    def details(kind, p):
        option = lambda type_: p.option("", lambda w: p.read(type_, w))
        if kind == 0:
            return {
                "code": p.read("u32", ""),
                "source": {0: "driver", 1: "kernel_log"}.get(n := p.read("u16", ""), {"code": n}),
                "text": p.read("text", ""),
                "pid": option("u32"),
                "process": option("text"),
                "gpu_instance_id": option("u32"),
                "compute_instance_id": option("u32"),
                "caused_by": option("u32"),
            }
        if kind == 3:
            return {"call": p.read("text", ""), "since_unix_ms": p.read("u64", "")}
        if kind == 8:
            return {"version": p.read("text", "")}
        if kind == 9:
            return {"reason": p.read("text", "")}
        if kind == 10:
            return {"until_unix_ms": p.read("u64", "")}
        if kind == 13:
            return {
                "stream": p.code("stream", ""),
                "epoch": p.epoch(""),
                "from_seq": p.read("u64", ""),
                "to_seq": p.read("u64", ""),
                "cause": p.code("loss cause", ""),
            }
        if kind == 14:
            return {"old_epoch": p.epoch("")}
        if kind == 15:
            return {"reason": p.read("text", "")}
        if kind in (1, 2, 4, 5, 6, 7, 11, 12, 16):
            return {}
        if kind == 17:
            return {"condition": condition(p)}
        if kind == 18:
            return {
                "code": p.read("name", ""),
                "key": p.read("u32", ""),
                "since_unix_ms": p.read("u64", ""),
                "by": p.code("cleared by", ""),
            }
        if kind == 19:
            return {"from": p.code("verdict", ""), "to": p.code("verdict", ""), "reason": p.read("text", "")}
        if kind == 20:
            return {
                "from": p.code("gpu state", ""),
                "to": p.code("gpu state", ""),
                "cause": p.code("state cause", ""),
                "reason": p.read("text", ""),
            }
        if kind == 21:
            return {"xid": p.read("u32", "")} | {
                name: p.read("u64", "")
                for name in ("count", "first_unix_ms", "last_unix_ms", "by_driver", "by_kernel_log")
            }
        if kind == 22:
            return {"until_unix_ms": p.read("u64", ""), "reason": p.read("text", "")}
        if kind == 23:
            return {}
        if kind == 24:
            return {"by_ms": p.read("i64", "")}
        if kind == 25:
            return {"records": p.read("u64", "")}
        if kind == 26:
            return {
                "code": p.read("u32", ""),
                "fatal": option("bool"),
                "pci_address": p.read("text", ""),
                "text": p.read("text", ""),
            }
        if kind == 27:
            return {"lease": p.read("text", ""), "until_unix_ms": option("u64")}
        if kind == 28:
            return {"lease": p.read("text", "")}
        if kind == 29:
            return {"code": p.read("name", ""), "key": p.read("u32", ""), "by": p.read("text", "")}
        if kind == 30:
            return {"digest": p.read("hex32", ""), "cause": p.code("evidence cause", ""),
                    "signed_by": p.read("text", "")}
        if kind == 31:
            return {"component": p.read("name", ""), "instance": p.read("text", ""), "field": p.read("name", ""),
                    "from": option("text"), "to": option("text")}
        if kind == 32:
            return {name: option("text") for name in ("old_uuid", "old_serial", "new_uuid", "new_serial", "ticket")}
        if kind == 33:
            return {"from_slot": p.read("byte", "")}
        if kind == 34:
            return {"ticket": p.read("text", ""), "by": p.read("text", ""), "expires_unix_ms": p.read("u64", "")}
        if kind == 35:
            return {"event": p.read("name", ""), "hook": p.read("text", ""), "exit": unzigzag(p.varint(32)),
                    "took_ms": p.read("u32", ""), "message": p.read("text", "")}
        if kind == 36:
            return {"code": p.read("name", ""), "instance": p.read("text", ""), "detail": p.read("text", "")}
        if kind == 37:
            return {"mode": p.read("name", ""), "outcome": p.read("name", ""), "reason": p.read("text", ""),
                    "took_ms": p.read("u64", ""), "memory_bytes": p.read("u64", "")}
        return {"payload": base64.b64encode(p.take(len(p.data))).decode()}

    def telemetry(self, trace=None):
        d = self.data
        samples = d.read("u32", "samples")
        slots = list(d.read("bytes", "slots"))
        runs = d.list(16, "columns", lambda w: (d.read("u16", w + ".first"), d.read("u16", w + ".count")))
        data = d.read("bytes", "data")
        ids = [first + i for first, count in runs for i in range(count)]
        for rising in (slots, ids):
            if any(a >= b for a, b in zip(rising, rising[1:])):
                raise Refused("slots or columns do not rise")
        if not 1 <= samples <= 120 or len(slots) > 64 or len(ids) > 256 or samples * len(slots) * len(ids) > 1 << 19:
            raise Refused("batch over a limit")
        bits = Bits(data, trace)
        labels = ["sample number", "monotonic ms", "unix ms"]
        time = columns(bits, labels, 1, samples, None, no_data)
        seq, mono, unix = ([cell for cell in column] for column in time)
        if any(isinstance(cell, dict) for cell in seq + mono + unix):
            raise Refused("a sample time is absent")
        table = columns(bits, [f"column {i}" for i in ids], len(slots), samples, mono, no_data)
        bits.finish()
        out = []
        for s in range(samples):
            gpus = []
            for g, slot in enumerate(slots):
                row = {"slot": slot}
                for c, number in enumerate(ids):
                    cell = table[c][g * samples + s]
                    if not isinstance(cell, dict) and FIELDS.get(number, ("", ""))[1] == "signed":
                        cell = signed(cell)
                    row[self.name(number)] = cell
                gpus.append(row)
            out.append({"seq": seq[s], "taken_unix_ms": unix[s], "taken_mono_ms": mono[s], "gpus": gpus})
        return {"samples": out, "extensions": self.data.extensions()}

    def slow(self):
        d = self.data

        def nvlink(w):
            link = {
                "link": d.read("byte", w + ".link"),
                "active": d.reading("bool", w + ".active"),
                "version": d.reading("u32", w + ".version"),
                "remote": d.code("nvlink remote", w + ".remote"),
            }
            for name in ("crc_flit_errors", "crc_data_errors", "replay_errors", "recovery_errors",
                         "transmit_bytes", "receive_bytes"):
                link[name] = d.reading("u64", f"{w}.{name}")
            return link

        def process(w):
            return {
                "pid": d.read("u32", w + ".pid"),
                "kind": d.code("process kind", w + ".kind"),
                "name": d.read("text", w + ".name"),
                "memory_used_bytes": d.reading("u64", w + ".memory_used_bytes"),
                "gpu_instance_id": d.option(w + ".gpu_instance_id", lambda v: d.read("u32", v)),
                "compute_instance_id": d.option(w + ".compute_instance_id", lambda v: d.read("u32", v)),
            }

        return {
            "taken_unix_ms": d.read("u64", "taken_unix_ms"),
            "gpus": d.list(64, "gpus", lambda w: {
                "slot": d.read("byte", w + ".slot"),
                "fields": self.fields(w + ".fields"),
                "nvlinks": d.list(64, w + ".nvlinks", nvlink),
                "mig": self.mig(w + ".mig"),
                "processes": d.list(1024, w + ".processes", process),
            }),
            "extensions": self.data.extensions(),
        }

    def status(self):
        d = self.data
        return {
            "state": d.code("node state", "state"),
            "reason": d.read("text", "reason"),
            "session": d.read("hex16", "session"),
            "since_unix_ms": d.read("u64", "since_unix_ms"),
            "time_to_live_ms": d.read("u64", "time_to_live_ms"),
            "sample_period_ms": d.read("u64", "sample_period_ms"),
            "simulated": d.read("bool", "simulated"),
            "gpus": {
                "expected": d.read("u16", "gpus.expected"),
                "answering": d.read("u16", "gpus.answering"),
            },
            "agent_version": d.read("text", "agent_version"),
            "extensions": self.data.extensions(),
        }

    def capacity(self):
        d = self.data
        body = {
            "audience": d.code("audience", "audience"),
            "simulated": d.read("bool", "simulated"),
            "groups": self.groups("groups"),
            "gpus": d.list(64, "gpus", lambda w: {
                "slot": d.read("byte", w + ".slot"),
                "state": d.code("gpu state", w + ".state"),
                "verdict": d.code("verdict", w + ".verdict"),
                "no_data": d.option(w + ".no_data", lambda v: d.read("nodata", v)),
                "groups": self.groups(w + ".groups"),
                "mig": self.mig(w + ".mig"),
            }),
            "extensions": self.data.extensions(),
        }
        return body | known_extensions(body["extensions"])

    def reply(self):
        d = self.data
        body = {
            "nonce": d.read("hex16", "nonce"),
            "outcome": d.code("reply outcome", "outcome"),
            "reason": d.read("text", "reason"),
            "extensions": self.data.extensions(),
        }
        return body | refusal(body["extensions"])

    def reference(self, what):
        return {"digest": self.data.read("hex32", what + ".digest"), "length": self.data.read("u32", what + ".length")}

    def packed(self, what):
        return base64.b64encode(self.data.read("bytes", what)).decode()

    def evidence(self):
        d = self.data
        body = {
            "taken_unix_ms": d.read("u64", "taken_unix_ms"),
            "cause": d.code("evidence cause", "cause"),
            "freshness": {
                "source": d.code("freshness source", "freshness.source"),
                "verifier": d.read("name", "freshness.verifier"),
                "value": d.read("hex32", "freshness.value"),
            },
            "identity_public_key": d.read("hex32", "identity_public_key"),
            "session_public_key": d.read("hex32", "session_public_key"),
            "boot_id": d.read("hex16", "boot_id"),
            "inventory": self.reference("inventory"),
            "boot_log": d.option("boot_log", self.reference),
            "mqtt_key": d.option("mqtt_key", lambda w: d.read("hex32", w)),
            "devices": d.list(96, "devices", lambda w: {
                "kind": d.code("device kind", w + ".kind"),
                "slot": d.option(w + ".slot", lambda v: d.read("byte", v)),
                "name": d.read("name", w + ".name"),
                "report": d.option(w + ".report", self.reference),
                "chain": d.option(w + ".chain", self.reference),
                "reason": d.read("text", w + ".reason"),
            }),
            "previous": d.option("previous", lambda w: d.read("hex32", w)),
        }
        body["tpm"] = d.option("tpm", lambda w: {
            "endorsement_key": self.packed(w + ".endorsement_key"),
            "endorsement_certificate": d.option(w + ".endorsement_certificate", self.packed),
            "attestation_key": self.packed(w + ".attestation_key"),
            "quoted": self.packed(w + ".quoted"),
            "signature": self.packed(w + ".signature"),
            "pcr_bank": d.read("u16", w + ".pcr_bank"),
            "pcrs": d.list(24, w + ".pcrs", lambda v: {
                "index": d.read("byte", v + ".index"), "digest": d.read("bytes", v + ".digest").hex(),
            }),
        })
        body["extensions"] = d.extensions()
        return body

    def artefact(self):
        d = self.data
        return {
            "of": self.reference("of"),
            "offset": d.read("u32", "offset"),
            "bytes": self.packed("bytes"),
            "extensions": d.extensions(),
        }


# --- frames -----------------------------------------------------------------

def schema_ids():
    folder = FEED / "src" / "schema"
    ids = {}
    for number, name in enumerate(("session", "event", "telemetry", "telemetry_slow", "status", "capacity",
                                   "reply", "evidence", "artefact")):
        text = (folder / f"{name}.txt").read_bytes()
        ids[hashlib.sha256(b"rackmark/feed/v1/schema\0" + text).digest()[:8]] = (number, name)
    return ids


BODY_STREAM = {"session": "session", "event": "event", "telemetry": "telemetry",
               "telemetry_slow": "telemetry_slow", "status": "status", "reply": "reply", "artefact": "reply"}


def decode(data, trace=None, bit_trace=None):
    d = Bytes(data, trace)
    if len(data) > 65536:
        raise Refused("too long")
    if d.read("byte", "magic") != 0xB7 or d.read("byte", "frame version") != 1:
        raise Refused("not a frame")
    start = d.at
    schema = d.take(8)
    d.note(start, "schema id", schema.hex())
    length = d.read("u32", "length of header and body")
    end = d.at + length
    if end + 64 != len(data):
        raise Refused("length does not fit")
    header = {
        "node": d.node("header.node"),
        "session": d.read("hex16", "header.session"),
        "epoch": d.epoch("header.epoch"),
        "stream": d.code("stream", "header.stream"),
        "seq": d.option("header.seq", lambda w: d.read("u64", w)),
        "time_unix_ms": d.read("u64", "header.time_unix_ms"),
    }
    number, name = schema_ids()[schema]
    if d.read("u32", "body number") != number:
        raise Refused("body number is not the schema's")
    bodies = Bodies(d)
    body = {
        "session": bodies.session, "event": bodies.event, "telemetry": lambda: bodies.telemetry(bit_trace),
        "telemetry_slow": bodies.slow, "status": bodies.status, "capacity": bodies.capacity,
        "reply": bodies.reply, "evidence": bodies.evidence, "artefact": bodies.artefact,
    }[name]()
    if d.at != end:
        raise Refused("bytes follow the body")
    if name == "evidence":
        stream = "reply" if body["freshness"]["source"] == "nonce" else "evidence"
    else:
        stream = BODY_STREAM.get(name) or "capacity_" + body["audience"]
    if header["stream"] != stream:
        raise Refused("stream does not carry the body")
    if stream == "reply":
        if header["seq"] is not None:
            raise Refused("a reply has a sequence number")
    elif header["seq"] is None and not (name == "status" and body["state"] == "offline"):
        raise Refused("sequence number is absent")
    start = d.at
    signature = d.take(64)
    d.note(start, "signature", signature.hex())
    document = {
        "schema": schema.hex(), "kind": name, "header": header, "body": body, "units": bodies.units,
        "signed_bytes": base64.b64encode(data).decode(),
    }
    return document, signature, getattr(bodies, "claim", None)


def verify(key, signature, signed_bytes):
    """True or False, or None without the package `cryptography`."""
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        return None
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, signed_bytes)
        return True
    except InvalidSignature:
        return False


def check_folder(folder):
    keys, frames, wrong, checked = {}, [], 0, 0
    for path in sorted(folder.glob("*.bin")):
        data = path.read_bytes()
        document, signature, claim = decode(data)
        frames.append((path, data, document, signature))
        if document != json.loads(path.with_suffix(".json").read_text(encoding="utf-8")):
            print(f"{path.name}: decoded otherwise than {path.with_suffix('.json').name}")
            wrong += 1
        if claim is not None:
            body = document["body"]
            identity, session = (bytes.fromhex(body[k]) for k in ("identity_public_key", "session_public_key"))
            node = "sw:" + hashlib.sha256(b"rackmark/feed/v1/node-id/software\0" + identity).hexdigest()
            name = hashlib.sha256(b"rackmark/feed/v1/session-id\0" + session).digest()[:16].hex()
            good = verify(identity, bytes.fromhex(body["identity_signature"]),
                          b"rackmark/feed/v1/session-identity\0" + claim)
            if node != body["node"] or name != document["header"]["session"] or good is False \
                    or not successions_hold(body):
                print(f"{path.name}: ids, identity signature or successions do not fit")
                wrong += 1
            keys[name] = session
    for path, data, document, signature in frames:
        good = verify(keys[document["header"]["session"]], signature, b"rackmark/feed/v1/frame\0" + data[:-64])
        checked += good is not None
        if good is False:
            print(f"{path.name}: signature does not fit")
            wrong += 1
        spoiled = bytearray(data)
        spoiled[len(data) // 2] ^= 1
        if verify(keys[document["header"]["session"]], signature, b"rackmark/feed/v1/frame\0" + spoiled[:-64]):
            print(f"{path.name}: a spoiled frame verifies")
            wrong += 1
    if not frames:
        print("no payloads")
        return 1
    good, bad, signatures = check_downlink(folder / "downlink")
    wrong, checked = wrong + bad, checked + signatures
    print(f"{len(frames) + good + bad - wrong} payloads agree, {checked} signatures checked, {wrong} faults")
    return 1 if wrong else 0


def check_downlink(folder):
    """Downlink frames and the key that signs them: how many agree, how many do not, signatures checked."""
    key = bytes.fromhex((folder / "sender.key").read_text(encoding="utf-8").strip())
    good, bad, checked = 0, 0, 0
    for path in sorted(folder.glob("*.bin")):
        data = path.read_bytes()
        document, signature = decode_downlink(data)
        signed_bytes = b"rackmark/feed/v1/downlink\0" + data[:-64]
        spoiled = bytearray(signed_bytes)
        spoiled[len(data) // 2] ^= 1
        fits = verify(key, signature, signed_bytes)
        checked += fits is not None
        if document != json.loads(path.with_suffix(".json").read_text(encoding="utf-8")):
            print(f"{path.name}: decoded otherwise than {path.with_suffix('.json').name}")
            bad += 1
        elif fits is False or verify(key, signature, bytes(spoiled)):
            print(f"{path.name}: signature does not fit, or a spoiled one does")
            bad += 1
        else:
            good += 1
    return good, bad, checked


def explain_frame(path):
    trace, data = [], path.read_bytes()
    (decode_downlink if data[:1] == b"\xb8" else decode)(data, trace)
    for start, data, what, value in trace:
        text = data.hex() if len(data) <= 18 else data[:14].hex() + "…"
        shown = "" if isinstance(value, str) and value.startswith(data.hex()[:8]) else f" = {value}"
        if isinstance(value, str) and len(value) > 40:
            shown = ""
        print(f"{start:>5}  {text:<37}  {what}{shown}")


def explain_bits(path):
    trace = []
    decode(path.read_bytes(), None, trace)
    for bits, what, value in trace:
        print(f"{bits or '-':<24} {what} = {value}")


def main(arguments):
    if len(arguments) == 2 and arguments[0] == "--frame":
        return explain_frame(pathlib.Path(arguments[1]))
    if len(arguments) == 2 and arguments[0] == "--bits":
        return explain_bits(pathlib.Path(arguments[1]))
    if len(arguments) == 1:
        return check_folder(pathlib.Path(arguments[0]))
    print(__doc__)
    return 64


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
