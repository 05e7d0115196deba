"""A decoder of downlink frames, written from docs/feed.md alone."""
import base64
import re

from independent_bytes import Bytes, code
from independent_columns import Refused

NAME = re.compile(r"[a-z0-9_.-]{1,64}")

GPU = ("gpu", "option text")
VERBS = {
    1: ("acknowledge", (GPU, ("code", "name"), ("key", "u32"))),
    2: ("maintenance_start", (GPU, ("until_unix_ms", "u64"), ("reason", "text"))),
    3: ("maintenance_end", (GPU,)),
    4: ("lease_start", (("gpu", "text"), ("lease", "text"), ("until_unix_ms", "option u64"))),
    5: ("lease_end", (("lease", "text"),)),
    6: ("drain", (GPU, ("reason", "text"))),
    7: ("undrain", (GPU,)),
    8: ("pause", (GPU, ("for_ms", "u64"))),
    9: ("resume", (GPU,)),
    10: ("attest", (("nonce", "hex32"), ("devices", "bool"))),
    11: ("activate", (("credential_blob", "base64"), ("encrypted_secret", "base64"))),
    12: ("fetch", (("digest", "hex32"),)),
    13: ("accepted", (("digest", "hex32"),)),
    14: ("swap", (("gpu", "text"), ("ticket", "text"), ("for_ms", "option u64"), ("tested_by", "option text"))),
    15: ("burn_in_start", (GPU, ("mode", "name"), ("hours", "u16"), ("one_by_one", "bool"))),
    16: ("burn_in_stop", (GPU,)),
}


def decode_downlink(data, trace=None):
    d = Bytes(data, trace)
    if len(data) > 8192:
        raise Refused("too long")
    if d.read("byte", "magic") != 0xB8 or d.read("byte", "downlink version") != 1:
        raise Refused("not a downlink frame")
    end = d.read("u32", "length of body")
    end += d.at
    if end + 64 != len(data):
        raise Refused("length does not fit")
    number = d.read("u32", "body number")
    if number > 2:
        raise Refused("unknown downlink body")
    name = ("watermark", "command", "epoch")[number]
    body = {} if name == "epoch" else {"node": d.node("node")}
    if name == "epoch":
        body |= {
            "verifier": d.read("name", "verifier"),
            "value": d.read("hex32", "value"),
            "issued_unix_ms": d.read("u64", "issued_unix_ms"),
            "expires_unix_ms": d.read("u64", "expires_unix_ms"),
        }
    elif name == "watermark":
        body |= {
            "consumer": d.read("text", "consumer"),
            "epoch": d.epoch("epoch"),
            "issued_unix_ms": d.read("u64", "issued_unix_ms"),
        }
        codes = []

        def entry(w):
            start = d.at
            codes.append(d.varint(16))
            d.note(start, w + ".stream", code("stream", codes[-1]))
            return {"stream": code("stream", codes[-1]), "below_seq": d.read("u64", w + ".below_seq")}

        body["below"] = d.list(32, "below", entry)
        if any(a >= b for a, b in zip(codes, codes[1:])):
            raise Refused("streams do not rise")
    else:
        body |= {
            "session": d.read("hex16", "session"),
            "consumer": d.read("text", "consumer"),
            "expires_unix_ms": d.read("u64", "expires_unix_ms"),
            "nonce": d.read("hex16", "nonce"),
        }
        verb = d.read("u16", "verb")
        payload = Bytes(d.read("bytes", "payload"))
        if len(payload.data) > 2048:
            raise Refused("payload too long")
        if verb == 0:
            body["verb"] = "resend"
            body["details"] = {
                "stream": payload.code("stream", ""),
                "epoch": payload.epoch(""),
                "from_seq": payload.read("u64", ""),
                "to_seq": payload.read("u64", ""),
            }
        elif verb in VERBS:
            body["verb"], fields = VERBS[verb]
            body["details"] = {
                name: payload.option("", lambda w, kind=kind: payload.read(kind[7:], w))
                if kind.startswith("option ")
                else base64.b64encode(payload.read("bytes", "")).decode() if kind == "base64"
                else payload.read(kind, "")
                for name, kind in fields
            }
        else:
            body["verb"] = {"code": verb}
            body["details"] = {"payload": base64.b64encode(payload.take(len(payload.data))).decode()}
        if payload.at != len(payload.data):
            raise Refused("bytes follow the payload")
    if not NAME.fullmatch(body.get("consumer") or body["verifier"]):
        raise Refused("consumer name breaks the rule")
    body["extensions"] = d.extensions()
    if d.at != end:
        raise Refused("bytes follow the body")
    start = d.at
    signature = d.take(64)
    d.note(start, "signature", signature.hex())
    document = {"kind": name, "body": body, "signed_bytes": base64.b64encode(data).decode()}
    return document, signature
