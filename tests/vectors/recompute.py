#!/usr/bin/env python3
"""Recomputes the canonical encodings and digests of actions.json, with nothing but the standard library.

    recompute.py            compares; exits with 1 and says where, if anything differs
    recompute.py --write    writes what it computed into actions.json

The encoding is described in docs/action-encoding.md.
"""

import hashlib
import json
import pathlib
import sys

FILE = pathlib.Path(__file__).with_name("actions.json")
SAFE_INTEGER = 2**53 - 1


def ordered(value):
    """Object members in the order of RFC 8785: by the UTF-16 code units of their names."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return {name: ordered(value[name]) for name in names}
    if isinstance(value, list):
        return [ordered(item) for item in value]
    if isinstance(value, float) or (
        isinstance(value, int) and abs(value) > SAFE_INTEGER
    ):
        raise ValueError(f"{value} is not an integer of up to 53 bits")
    return value


def canonical(action):
    parts = []
    for part in action["payload"]["parts"]:
        content = bytes.fromhex(part["hex"])
        parts.append(
            {
                "length": len(content),
                "media_type": part["media_type"],
                "name": part["name"],
                "sha256": hashlib.sha256(content).hexdigest(),
            }
        )
    encoded = {
        "format": 1,
        **{name: value for name, value in action.items() if name not in ("labels", "payload")},
        "labels": sorted(set(action["labels"])),
        "payload": {"fields": action["payload"]["fields"], "parts": parts},
    }
    return json.dumps(ordered(encoded), ensure_ascii=False, separators=(",", ":"))


def main():
    vectors = json.loads(FILE.read_text(encoding="utf-8"))
    wrong = 0
    for vector in vectors:
        text = canonical(vector["action"])
        digest = "sha256:" + hashlib.sha256(text.encode("utf-8")).hexdigest()
        if (vector.get("canonical"), vector.get("digest")) != (text, digest):
            wrong += 1
            print(f"{vector['name']}: computed {digest}\n{text}")
        vector["canonical"], vector["digest"] = text, digest
    if "--write" in sys.argv[1:]:
        FILE.write_text(json.dumps(vectors, indent=2) + "\n", encoding="utf-8")
    elif wrong:
        sys.exit(f"{wrong} of {len(vectors)} vectors differ")
    else:
        print(f"{len(vectors)} vectors agree")


if __name__ == "__main__":
    main()
