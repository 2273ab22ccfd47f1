"""A reader of backup repositories in plain Python, written from docs/backup-format.md alone. It imports none of ours.

It reads every snapshot of a repository in a folder, ignores the index, and checks what the page promises.
"""

import base64
import json
import struct
from pathlib import Path
from typing import Any

import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap


class PlainReader:
    def __init__(self, folder: Path, key_file: Path) -> None:
        self.folder = folder
        key = base64.b64decode(key_file.read_text().removeprefix("llm-controlplane-backup-key-1:"))
        key_id = blake3(key, derive_key_context="llm-controlplane backup 1 key id").hexdigest()[:16]
        wrapped = json.loads((folder / "keys" / key_id).read_text())["wrapped"]
        opened = [aes_key_unwrap(key, base64.b64decode(secret)) for secret in wrapped]
        self.sealing, self.chunk_secret, self.data_keys = opened[0][0], opened[1], dict(enumerate(opened[2:]))
        for path in sorted(folder.glob(f"epochs/*/{key_id}")):
            plain = aes_key_unwrap(key, base64.b64decode(json.loads(path.read_text())["wrapped"]))
            epoch, zero, data_key = struct.unpack("<II32s", plain)
            assert (f"{epoch:08x}", zero) == (path.parent.name, 0)
            self.data_keys[epoch] = data_key
        self.chunks: dict[bytes, bytes] = {}
        for pack in sorted((folder / "packs").glob("*/*")):
            self.read_pack(pack)

    def record(self, data: bytes, begin: int, length: int, counter: int, context: bytes, kind: int) -> bytes:
        header = data[:64]
        magic, version, found, sealing, epoch, salt = struct.unpack("<4sBBBxI20x32s", header)
        assert (magic, version, found, sealing) == (b"LCPB", 1, kind, self.sealing)
        subkey = HKDF(SHA256(), 32, salt, b"llm-controlplane backup 1 object").derive(self.data_keys[epoch])
        nonce, sealed = counter.to_bytes(12, "big"), data[begin : begin + length]
        if sealing == 1:
            return AESGCM(subkey).decrypt(nonce, sealed, header + context)
        body, tag = sealed[:-16], sealed[-16:]
        assert blake3(nonce + header + context + body, key=subkey).digest()[:16] == tag
        return body

    def read_pack(self, path: Path) -> None:
        data = path.read_bytes()
        assert blake3(data).hexdigest() == path.name
        assert len(data) % 4096 == 0
        offset, length, magic = struct.unpack("<QI4s", data[-16:])
        assert magic == b"KCAP"
        table = self.record(data, offset, length, 2**32 - 1, b"table", 1)
        for row in struct.iter_unpack("<32sQIIBxHI", table):
            identity, begin, stored, size, codec, number, _ = row
            body = self.record(data, begin, stored, number, identity, 1)
            if codec:
                body = zstandard.decompress(body, max_output_size=size)
            if codec == 2:
                half = size // 2
                pairs = zip(body[:half], body[half : 2 * half], strict=True)
                body = bytes(byte for pair in pairs for byte in pair) + body[2 * half :]
            assert len(body) == size
            assert blake3(blake3(body).digest(), key=self.chunk_secret).digest() == identity
            self.chunks[identity] = body

    def snapshots(self) -> list[dict[str, Any]]:
        heads = []
        for path in sorted((self.folder / "snapshots").iterdir()):
            data = path.read_bytes()
            body = self.record(data, 64, len(data) - 64, 0, b"", 3)
            heads.append(json.loads(zstandard.decompress(body, max_output_size=1 << 26)))
        return heads

    def entries(self, head: dict[str, Any]) -> list[dict[str, Any]]:
        tree = b"".join(self.chunks[bytes.fromhex(chunk)] for chunk in head["tree"])
        return [json.loads(line) for line in tree.splitlines()]

    def content(self, entry: dict[str, Any]) -> bytes:
        joined = bytes.fromhex(entry["chunks"])
        parts = [self.chunks[joined[at : at + 32]] for at in range(0, len(joined), 32)]
        digest = blake3(len(b"".join(parts)).to_bytes(8, "little"), derive_key_context="llm-controlplane backup 1 file")
        for part in parts:
            digest.update(blake3(part).digest())
        assert digest.hexdigest() == entry["digest"]
        return b"".join(parts)

    def tree_digest(self, head: dict[str, Any]) -> str:
        digest = blake3(derive_key_context="llm-controlplane backup 1 tree")
        files = {entry["path"]: entry["digest"] for entry in self.entries(head) if entry["type"] == "file"}
        for path in sorted(files):
            digest.update(len(path.encode()).to_bytes(8, "little") + path.encode() + bytes.fromhex(files[path]))
        return digest.hexdigest()
