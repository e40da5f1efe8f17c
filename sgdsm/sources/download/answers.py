"""Meaning of a server's answer: whether it is the file, which version of it, and its checksum.

Reference: RFC 9110 (ranges, validators), RFC 3230 and RFC 9530 (digests in headers).
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
    """Raise the error that an answer means; 200, 206 and 416 (nothing left in that range) pass.

    Args:
        url: Address that was asked for.
        answer: The answer.

    Raises:
        HopelessError: If a login is needed.
        DownloadError: If the file does not exist, or the answer is no file.
        PassingError: If the server asks to try again later.
    """
    code, what = answer.status_code, f"HTTP {answer.status_code} ({answer.reason})"
    host = urlsplit(answer.url).hostname or ""
    # archives answer with their login page, and 200, to those who are not logged in
    page = answer.headers.get("Content-Type", "").startswith("text/html") and Path(urlsplit(url).path).suffix != ".html"
    if code in (401, 403) or (code == 200 and page):
        problem = "a web page instead of a file" if code == 200 else what
        account = f"an account of {host}, in ~/.netrc: machine {host} login NAME password WORD"
        login = next((text for end, text in LOGINS.items() if host == end or host.endswith(f".{end}")), account)
        raise HopelessError(f"{shown(url)}: {problem}; it needs {login}")
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
    """Return True if a partial answer begins at byte `have` of the same version and size of a file.

    Args:
        headers: Headers of the answer.
        version: Validator of the bytes that are there.
        size: Size of the whole file in bytes, if it is known.
        have: Bytes that are there.
    """
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
    same = validator(headers) in (None, version)
    return match is not None and same and int(match[1]) == have and match[2] in ("*", str(size))


def validator(headers: Mapping[str, str]) -> str | None:
    """Return what distinguishes versions of a file: its ETag, or when it was modified; None if neither is given.

    Args:
        headers: Headers of an answer.
    """
    # a weak ETag does not mean that all bytes are the same
    tag = headers.get("ETag", "")
    return tag if tag.startswith('"') else headers.get("Last-Modified")


def declared(headers: Mapping[str, str]) -> str | None:
    """Return the checksum that the headers of a whole file give, as 'md5:HEX' or 'sha256:HEX'; None if they give none.

    Args:
        headers: Headers of an answer.
    """
    listed = ",".join(headers.get(name, "") for name in ("Repr-Digest", "Content-Digest", "Digest"))
    pairs = re.findall(r"(sha-256|md5)=:?([A-Za-z0-9+/]+=*)", listed, re.IGNORECASE)
    pairs += [("md5", headers.get("Content-MD5", ""))]
    # sha256 is preferred to md5
    for kind, text in sorted(((name.lower().replace("-", ""), text) for name, text in pairs), reverse=True):
        try:
            digits = base64.b64decode(text, validate=True).hex()
        except ValueError:
            continue
        if len(digits) == HEX_DIGITS[kind]:
            return f"{kind}:{digits}"
    return None


def from_sidecar(url: str, name: str, session: requests.Session) -> str:
    """Return the checksum of a file from the .md5 or .sha256 file beside it.

    Args:
        url: Address of the checksum file.
        name: Name of the file.
        session: Session for the request.

    Returns:
        'md5:HEX' or 'sha256:HEX'.

    Raises:
        DownloadError: If it holds no checksum of the file.
    """
    with session.get(url, stream=True, timeout=TIMEOUT_S) as answer:
        check_answer(url, answer)
        text = next(answer.iter_content(CHUNK), b"").decode(errors="replace")
    # a list of several files, or just the digits
    # a file of checksums may list a whole folder
    line = next((line for line in text.splitlines() if name in re.split(r"[\s*()/]+", line)), text)
    kind = "md5" if url.endswith(".md5") else "sha256"
    found = re.search(rf"\b[0-9a-fA-F]{{{HEX_DIGITS[kind]}}}\b", line)
    if not found:
        raise DownloadError(f"{shown(url)}: holds no {kind} checksum of {name}")
    return f"{kind}:{found[0]}"
