"""What a server's answer says: whether it is the file, which version of it, and its checksum.

Facts: RFC 9110 (ranges, validators), RFC 3230 and RFC 9530 (digests in headers).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sgdsm.sources.download.errors import LOGINS, DownloadError, HopelessError, PassingError, shown

if TYPE_CHECKING:
    import requests

TIMEOUT_S = (15.0, 60.0)  # to connect, and between bytes
CHUNK = 1 << 13  # bytes; less than this is lost where a connection breaks
HEX_DIGITS = {"md5": 32, "sha256": 64}


def check_answer(url: str, answer: requests.Response) -> None:
    """Raise the error that an answer means; 200, 206 and 416 (nothing left in that range) pass."""
    code, what = answer.status_code, f"HTTP {answer.status_code} ({answer.reason})"
    host = urlsplit(answer.url).hostname or ""
    page = answer.headers.get("Content-Type", "").startswith("text/html") and Path(urlsplit(url).path).suffix != ".html"
    if code in (401, 403) or (code == 200 and page):
        told = "a web page instead of a file" if code == 200 else what
        own = f"an account of {host}, in ~/.netrc: machine {host} login NAME password WORD"
        login = next((text for end, text in LOGINS.items() if host == end or host.endswith(f".{end}")), own)
        raise HopelessError(f"{shown(url)}: {told}; it needs {login}")
    if code in (404, 410):
        raise DownloadError(f"{shown(url)}: {what}: the archive has no such day, version or file")
    if code in (408, 429) or code >= 500:
        after = answer.headers.get("Retry-After", "")
        raise PassingError(what, float(after) if after.isdecimal() else 0.0)
    if code not in (200, 206, 416):
        raise DownloadError(f"{shown(url)}: {what}, expected a file")
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise DownloadError(f"{shown(url)}: the server sends it compressed though asked not to")


def continues(headers: Mapping[str, str], version: str | None, size: int | None, have: int) -> bool:
    """Whether a partial answer begins at byte `have` of the same version and size of a file."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
    same = validator(headers) in (None, version)
    return found is not None and same and int(found[1]) == have and found[2] in ("*", str(size))


def validator(headers: Mapping[str, str]) -> str | None:
    """What tells this version of a file from another: its ETag, or when it was modified."""
    # a weak ETag does not say that bytes are the same
    tag = headers.get("ETag", "")
    return tag if tag.startswith('"') else headers.get("Last-Modified")


def declared(headers: Mapping[str, str]) -> str | None:
    """The checksum that the headers of a whole file give, as 'md5:HEX' or 'sha256:HEX'."""
    listed = ",".join(headers.get(name, "") for name in ("Repr-Digest", "Content-Digest", "Digest"))
    pairs = re.findall(r"(sha-256|md5)=:?([A-Za-z0-9+/]+=*)", listed, re.IGNORECASE)
    pairs += [("md5", headers.get("Content-MD5", ""))]
    # sha256 before md5
    for kind, text in sorted(((name.lower().replace("-", ""), text) for name, text in pairs), reverse=True):
        try:
            digits = base64.b64decode(text, validate=True).hex()
        except ValueError:
            continue
        if len(digits) == HEX_DIGITS[kind]:
            return f"{kind}:{digits}"
    return None


def from_sidecar(url: str, name: str, session: requests.Session) -> str:
    """The checksum of a file that a .md5 or .sha256 file beside it gives. Raises DownloadError where it gives none."""
    with session.get(url, stream=True, timeout=TIMEOUT_S) as answer:
        check_answer(url, answer)
        text = next(answer.iter_content(CHUNK), b"").decode(errors="replace")
    # a list of several files, or just the digits
    line = next((line for line in text.splitlines() if name in re.split(r"[\s*()/]+", line)), text)
    kind = "md5" if url.endswith(".md5") else "sha256"
    found = re.search(rf"\b[0-9a-fA-F]{{{HEX_DIGITS[kind]}}}\b", line)
    if not found:
        raise DownloadError(f"{shown(url)}: holds no {kind} checksum of {name}")
    return f"{kind}:{found[0]}"
