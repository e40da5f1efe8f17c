"""Files over HTTP: several at once, each going on where it stopped, none under its name before it is whole.

A file on its way is `NAME.part`, and `NAME.part.json` says of what.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType
from typing import TYPE_CHECKING

from sgdsm.cube import log
from sgdsm.download.answers import CHUNK, TIMEOUT_S, check_answer, continues, declared, from_sidecar, validator
from sgdsm.download.errors import DownloadError, HopelessError, PassingError, in_words, shown

if TYPE_CHECKING:
    import requests

TRIES = 5  # without a byte more
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 120.0
TELL_EVERY_S = 15.0


class _StoppedError(Exception):
    """Another file's error, or Ctrl-C, ends this one."""


@dataclass(frozen=True)
class Job:
    """A file to fetch. path: where to, below the output folder. size: in bytes. checksum: 'md5:HEX' or 'sha256:HEX'.
    sidecar: address of a .md5 or .sha256 file that holds it."""

    url: str
    path: str
    size: int | None = None
    checksum: str | None = None
    sidecar: str | None = None


@dataclass(frozen=True)
class _Part:
    """Of what a part is one: what it takes to go on with it. Without a validator it cannot be gone on with."""

    url: str
    validator: str | None
    size: int | None
    checksum: str | None


def fetch_all(jobs: Sequence[Job], folder: str | Path, workers: int = 4) -> int:
    """Fetch files into a folder and return how many; those that are there already are left alone.

    Raises DownloadError naming the first file that failed, after all others had their turn; HopelessError at once.
    KeyboardInterrupt leaves parts that the next call goes on with.
    """
    new_session = library("requests").Session
    folder = Path(folder).expanduser()
    targets: dict[Path, Job] = {}
    for job in jobs:
        target = inside(folder, job.path)
        if targets.setdefault(target, job) != job:
            raise DownloadError(f"{job.path}: two files of that name: {shown(targets[target].url)}, {shown(job.url)}")
    missing = [(job, target) for target, job in targets.items() if not _there(job, target)]
    stop = threading.Event()
    sessions: SimpleQueue[requests.Session] = SimpleQueue()

    def one(job: Job, target: Path) -> None:
        session = sessions.get()
        try:
            if not stop.is_set():
                _fetch(job, target, session, stop)
        except _StoppedError:
            pass
        except HopelessError:
            stop.set()
            raise
        finally:
            sessions.put(session)

    with ExitStack() as opened, ThreadPoolExecutor(workers) as pool:
        for _ in range(workers):
            sessions.put(opened.enter_context(new_session()))
        futures = [pool.submit(one, job, target) for job, target in missing]
        try:
            waiting = set(futures)
            while waiting:
                waiting = wait(waiting, timeout=TELL_EVERY_S).not_done
                log.info("%d of %d files", len(futures) - len(waiting), len(futures))
        except KeyboardInterrupt:
            stop.set()
            raise KeyboardInterrupt("what came is kept; go on with the same words") from None
    _raise_first([error for error in (future.exception() for future in futures) if error], len(targets))
    return len(missing)


def inside(folder: Path, path: str) -> Path:
    """The place of a path below a folder. Raises DownloadError for one that would leave it."""
    try:
        target = (folder / path).resolve()
    except (ValueError, OSError) as error:
        raise DownloadError(f"{path!r}: not a name of a file") from error
    if not path or not target.is_relative_to(folder.resolve()) or target == folder.resolve():
        raise DownloadError(f"{path!r}: would be written outside {folder}")
    return target


def library(name: str) -> ModuleType:
    """A library of the extra `download`. Raises DownloadError where it is not installed."""
    try:
        return import_module(name)
    except ImportError as error:
        raise DownloadError(f"needs {name}: pip install 'sgdsm[download]'") from error


def _there(job: Job, target: Path) -> bool:
    return target.is_file() and job.size in (None, target.stat().st_size)


def _raise_first(errors: Sequence[BaseException], files: int) -> None:
    for error in errors:
        if not isinstance(error, DownloadError) or isinstance(error, HopelessError):
            raise error
    if errors:
        first = errors[0] if len(errors) == 1 else f"{len(errors)} of {files} files failed, the first: {errors[0]}"
        raise DownloadError(str(first)) from errors[0]


def _fetch(job: Job, target: Path, session: requests.Session, stop: threading.Event) -> None:
    part = target.with_name(f"{target.name}.part")
    tries, most = 0, _size(part)
    while True:
        try:
            with in_words(job.url, part):
                part.parent.mkdir(parents=True, exist_ok=True)
                state = _state(part, job.url)
                if state is None or state.size != _size(part):
                    state = _receive(job, part, state, session, stop)
                _check(job, part, state, session)
                part.replace(target)
                _beside(part).unlink(missing_ok=True)
            return
        except PassingError as error:
            tries = 1 if _size(part) > most else tries + 1
            most = max(most, _size(part))
            if tries == TRIES:
                kind = HopelessError if error.everywhere else DownloadError
                raise kind(f"{shown(job.url)}: {error}, {TRIES} times; what came is kept") from error
            if stop.wait(min(max(FIRST_WAIT_S * 2 ** (tries - 1), error.wait_s), LONGEST_WAIT_S)):
                raise _StoppedError from error


def _receive(job: Job, part: Path, state: _Part | None, session: requests.Session, stop: threading.Event) -> _Part:
    # ranges and lengths count bytes as they are sent
    headers = {"Accept-Encoding": "identity", "User-Agent": "sgdsm"}
    have = _size(part) if state else 0
    if state and state.validator and have:
        headers |= {"Range": f"bytes={have}-", "If-Range": state.validator}
    with session.get(job.url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
        check_answer(job.url, answer)
        partial = answer.status_code == 206
        if answer.status_code == 416 or (partial and not _goes_on(answer.headers, state, have)):
            _forget(part)
            raise PassingError("it changed at the server meanwhile")
        if not partial:
            have, state = 0, _begin(job, part, answer.headers)
        with part.open("r+b" if have else "wb") as file:
            file.seek(have)
            for chunk in answer.iter_content(CHUNK):
                if stop.is_set():
                    raise _StoppedError
                file.write(chunk)
    assert state is not None
    if state.size not in (None, _size(part)):
        raise PassingError(f"ended after {_size(part)} of {state.size} bytes")
    return state


def _begin(job: Job, part: Path, headers: Mapping[str, str]) -> _Part:
    length = headers.get("Content-Length")
    size = int(length) if length and length.isdigit() else None
    if job.size is not None and size not in (None, job.size):
        raise DownloadError(f"{shown(job.url)}: has {size} bytes, expected {job.size}")
    state = _Part(job.url, validator(headers), size if size is not None else job.size, declared(headers))
    # first the old bytes go: they must never stand beside the new description
    part.write_bytes(b"")
    _beside(part).write_text(json.dumps(asdict(state)))
    return state


def _state(part: Path, url: str) -> _Part | None:
    try:
        state = _Part(**json.loads(_beside(part).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    usable = state.url == url and state.validator and (state.size is None or _size(part) <= state.size)
    return state if usable else None


def _goes_on(headers: Mapping[str, str], state: _Part | None, have: int) -> bool:
    return state is not None and continues(headers, state.validator, state.size, have)


def _check(job: Job, part: Path, state: _Part, session: requests.Session) -> None:
    beside = from_sidecar(job.sidecar, Path(job.path).name, session) if job.sidecar else None
    given = (job.checksum, state.checksum, beside)
    for checksum in given:
        if checksum is None:
            continue
        kind, _, expected = checksum.partition(":")
        with part.open("rb") as file:
            found = hashlib.file_digest(file, kind).hexdigest()
        if found != expected.lower():
            _forget(part)
            raise DownloadError(
                f"{shown(job.url)}: wrong checksum, {kind} {found}, expected {expected}; what came is removed"
            )


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _beside(part).unlink(missing_ok=True)


def _beside(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
