"""Files over HTTP: several at once, each resumed where it stopped, and none under its own name before it is complete.

An incomplete file is `NAME.part`; `NAME.part.json` describes what it is a part of.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from queue import Empty, SimpleQueue
from types import ModuleType
from typing import IO, TYPE_CHECKING

from sgdsm.core.logging import log
from sgdsm.sources.download.answers import CHUNK, TIMEOUT_S, check_answer, continues, declared, from_sidecar, validator
from sgdsm.sources.download.errors import DownloadError, HopelessError, PassingError, in_words, shown

if TYPE_CHECKING:
    import requests

TRIES = 5  # in a row that bring no new byte
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 120.0  # whatever a server asks for
LOG_EVERY_S = 15.0
GRACE_S = 2.0  # that threads have to end when all is stopped
DEADLINE_MINUTES = 120.0


class _StoppedError(Exception):
    """The download of this file was ended by another file's error or by Ctrl-C."""


@dataclass(frozen=True)
class Job:
    """A file to fetch.

    Args:
        url: Its address.
        path: Where to write it, below the output folder.
        size: Its size in bytes, if it is known.
        checksum: 'md5:HEX' or 'sha256:HEX', if it is known.
        sidecar: Address of a .md5 or .sha256 file with its checksum.
    """

    url: str
    path: str
    size: int | None = None
    checksum: str | None = None
    sidecar: str | None = None


@dataclass(frozen=True)
class _Part:
    """Description of a partial file: what is needed to resume it. Without a validator it cannot be resumed."""

    url: str
    validator: str | None
    size: int | None
    checksum: str | None


@dataclass
class _Task:
    """A file that a thread is to fetch.

    Args:
        job: The file.
        target: Its path.
        stop: Set to end the download.
        begun: When it started, seconds of the monotonic clock.
        had: Bytes that were there at that time.
    """

    job: Job
    target: Path
    stop: threading.Event = field(default_factory=threading.Event)
    begun: float | None = None
    had: int = 0

    @property
    def part(self) -> Path:
        """Return the path of the partial file."""
        return self.target.with_name(f"{self.target.name}.part")

    def late(self, deadline_s: float) -> DownloadError | None:
        """Return the error for a file that has taken longer than `deadline_s` seconds, else None."""
        if self.begun is None or time.monotonic() - self.begun < deadline_s:
            return None
        kind = DownloadError if _size(self.part) > self.had else HopelessError
        return kind(
            f"{shown(self.job.url)}: not complete after {deadline_s / 60:g} minutes (deadline_minutes); the part is "
            "kept: run the same command again, with a larger deadline_minutes for a slow server"
        )


_End = tuple[_Task, BaseException | None]


def fetch_all(
    jobs: Sequence[Job], folder: str | Path, workers: int = 4, deadline_minutes: float = DEADLINE_MINUTES
) -> int:
    """Fetch files into a folder; files that exist there are skipped.

    KeyboardInterrupt leaves partial files, which the next call resumes.

    Args:
        jobs: The files.
        folder: Where to write them.
        workers: Number of files at once.
        deadline_minutes: Largest time for each file from its first byte to its last, with waits and new tries.

    Returns:
        Number of files that were fetched.

    Raises:
        HopelessError: At once, for an error that all files would meet.
        DownloadError: For the first file that failed, after all others were tried; if two files have the same name, or
            a name would be outside the folder.
    """
    new_session = library("requests").Session
    folder = Path(folder).expanduser()
    targets: dict[Path, Job] = {}
    for job in jobs:
        target = inside(folder, job.path)
        if targets.setdefault(target, job) != job:
            raise DownloadError(f"{job.path}: two files of that name: {shown(targets[target].url)}, {shown(job.url)}")
    tasks = [_Task(job, target) for target, job in targets.items() if not _there(job, target)]
    try:
        errors = _in_threads(tasks, workers, deadline_minutes * 60, new_session)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the parts are kept; to resume, run the same command again") from None
    _raise_first(errors, len(targets))
    return len(tasks)


def _in_threads(
    tasks: Sequence[_Task], workers: int, deadline_s: float, new_session: Callable[[], requests.Session]
) -> list[BaseException]:
    """Fetch files in several threads and return the errors of those that failed; a hopeless error ends all.

    A thread may be blocked by a server that sends a byte now and then, so no thread is waited for without a limit: a
    file that is late is given up, and a new thread replaces the one that fetches it.
    """
    todo: SimpleQueue[_Task] = SimpleQueue()
    ended: SimpleQueue[_End] = SimpleQueue()
    for task in tasks:
        todo.put(task)

    def work() -> None:
        # sessions of requests are not safe for threads
        with new_session() as session, suppress(Empty):
            while True:
                task = todo.get_nowait()
                # the deadline counts from here, not from the time in the queue
                task.had, task.begun = _size(task.part), time.monotonic()
                error = _outcome(task, session)
                ended.put((task, error))
                if task.stop.is_set() or isinstance(error, HopelessError):
                    return

    threads = [_started(work) for _ in range(min(workers, len(tasks)))]
    waiting, errors, logged = list(tasks), list[BaseException](), time.monotonic()
    try:
        while waiting and not any(isinstance(error, HopelessError) for error in errors):
            outcomes = _wait(ended, min(LOG_EVERY_S, deadline_s / 10))
            for task in waiting:
                if (late := task.late(deadline_s)) is not None:
                    task.stop.set()
                    threads.append(_started(work))
                    outcomes.append((task, late))
            for task, error in outcomes:
                if task in waiting:
                    waiting.remove(task)
                    errors += [error] if error else []
            if time.monotonic() - logged > LOG_EVERY_S or not waiting:
                logged = time.monotonic()
                log.info("%d of %d files", len(tasks) - len(waiting), len(tasks))
    finally:
        for task in tasks:
            task.stop.set()
        end = time.monotonic() + GRACE_S
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
    return errors


def _wait(ended: SimpleQueue[_End], seconds: float) -> list[_End]:
    """Return a file that ended within some seconds, or nothing."""
    with suppress(Empty):
        return [ended.get(timeout=seconds)]
    return []


def _started(work: Callable[[], None]) -> threading.Thread:
    """Return a started daemon thread."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def _outcome(task: _Task, session: requests.Session) -> BaseException | None:
    """Fetch a file; return its error, None if it was fetched or stopped."""
    try:
        if not task.stop.is_set():
            _fetch(task, session)
    except _StoppedError:
        return None
    except BaseException as error:  # raised again in the main thread, as by an executor
        return error
    return None


def inside(folder: Path, path: str) -> Path:
    """Return the place of a path below a folder.

    Args:
        folder: The folder.
        path: Path below it, from a server or a list of addresses.

    Raises:
        DownloadError: If the place would be outside the folder, or the name has unsafe characters.
    """
    try:
        target = (folder / path).resolve()
    except (ValueError, OSError) as error:
        raise DownloadError(f"{path!r}: not a name of a file") from error
    if not path or not target.is_relative_to(folder.resolve()) or target == folder.resolve():
        raise DownloadError(f"{path!r}: would be written outside {folder}")
    # names come from servers: hidden files, and names that look like our parts, are refused
    for name in target.relative_to(folder.resolve()).parts:
        if not name.isprintable() or name.startswith(".") or "\\" in name or name.endswith((".part", ".part.json")):
            raise DownloadError(
                f"{path!r}: expected a name without control characters, backslashes, a leading dot or .part at its end"
            )
    return target


def library(name: str) -> ModuleType:
    """Import a library of the extra `download`.

    Args:
        name: Name of the library.

    Raises:
        DownloadError: If it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise DownloadError(f"needs {name}: pip install 'sgdsm[download]'") from error


def _there(job: Job, target: Path) -> bool:
    """Return True if the file exists and has the expected size."""
    return target.is_file() and job.size in (None, target.stat().st_size)


def _raise_first(errors: Sequence[BaseException], files: int) -> None:
    """Raise an unexpected or hopeless error at once, else one DownloadError for all that failed."""
    for error in errors:
        # errors of our own code must not be hidden among those of servers
        if not isinstance(error, DownloadError) or isinstance(error, HopelessError):
            raise error
    if errors:
        first = errors[0] if len(errors) == 1 else f"{len(errors)} of {files} files failed, the first: {errors[0]}"
        raise DownloadError(str(first)) from errors[0]


def _fetch(task: _Task, session: requests.Session) -> None:
    """Fetch a file, with new tries after errors that may be over; errors in words."""
    job, part, stop = task.job, task.part, task.stop
    tries, most = 0, _size(part)
    while True:
        try:
            with in_words(job.url, part):
                part.parent.mkdir(parents=True, exist_ok=True)
                state = _state(part, job.url)
                # a part that is complete was interrupted before it was renamed
                if state is None or state.size != _size(part):
                    state = _receive(job, part, state, session, stop)
                _check(job, part, state, session)
                if stop.is_set():
                    raise _StoppedError
                # renamed last: a file under its own name is always complete
                part.replace(task.target)
                _description_of(part).unlink(missing_ok=True)
            return
        except PassingError as error:
            tries = 1 if _size(part) > most else tries + 1
            most = max(most, _size(part))
            # slow but working connections may take many tries
            if tries == TRIES:
                kind = HopelessError if error.everywhere else DownloadError
                raise kind(f"{shown(job.url)}: {error}, {TRIES} times; what came is kept") from error
            if stop.wait(min(max(FIRST_WAIT_S * 2 ** (tries - 1), error.wait_s), LONGEST_WAIT_S)):
                raise _StoppedError from error


def _receive(job: Job, part: Path, state: _Part | None, session: requests.Session, stop: threading.Event) -> _Part:
    """Request a file, from where its part ends if that can be resumed, and write the answer to the part.

    Raises:
        PassingError: If the file changed at the server, or the connection ended early.
    """
    # ranges and lengths count bytes as they are sent
    headers = {"Accept-Encoding": "identity", "User-Agent": "sgdsm"}
    have = _size(part) if state else 0
    # If-Range: the server sends the whole file if it has changed since
    if state and state.validator and have:
        headers |= {"Range": f"bytes={have}-", "If-Range": state.validator}
    with session.get(job.url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
        check_answer(job.url, answer)
        partial = answer.status_code == 206
        if answer.status_code == 416 or (partial and not _continues_part(answer.headers, state, have)):
            _delete(part)
            raise PassingError("it changed at the server meanwhile")
        if not partial:
            have, state = 0, _begin(job, part, answer.headers)
        with own(part) as file:
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
    """Start a new part: empty, with a description from the headers.

    Raises:
        DownloadError: If the size is not the expected one.
    """
    length = headers.get("Content-Length")
    size = int(length) if length and length.isdecimal() else None
    if job.size is not None and size not in (None, job.size):
        raise DownloadError(f"{shown(job.url)}: has {size} bytes, expected {job.size}")
    state = _Part(job.url, validator(headers), size if size is not None else job.size, declared(headers))
    # the old bytes are deleted first: they must never be beside the new description
    write_own(part, "")
    write_own(_description_of(part), json.dumps(asdict(state)))
    return state


def _state(part: Path, url: str) -> _Part | None:
    """Return the description of a part that can be resumed, else None."""
    if not (_is_own(part) and _is_own(_description_of(part))):
        return None
    try:
        state = _Part(**json.loads(_description_of(part).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    usable = state.url == url and state.validator and (state.size is None or _size(part) <= state.size)
    return state if usable else None


def _continues_part(headers: Mapping[str, str], state: _Part | None, have: int) -> bool:
    """Return True if a partial answer continues a part."""
    return state is not None and continues(headers, state.validator, state.size, have)


def _check(job: Job, part: Path, state: _Part, session: requests.Session) -> None:
    """Compare a complete part with all checksums that are known.

    Raises:
        DownloadError: If one differs; the part is deleted.
    """
    beside = from_sidecar(job.sidecar, Path(job.path).name, session) if job.sidecar else None
    given = (job.checksum, state.checksum, beside)
    for checksum in given:
        if checksum is None:
            continue
        kind, _, expected = checksum.partition(":")
        with part.open("rb") as file:
            computed = hashlib.file_digest(file, kind).hexdigest()
        if computed != expected.lower():
            _delete(part)
            raise DownloadError(
                f"{shown(job.url)}: wrong checksum, {kind} {computed}, expected {expected}; what came is removed"
            )


def write_own(path: Path, text: str) -> None:
    """Write a text to a new file; what existed under that name is removed, and a link is not followed.

    Args:
        path: The file.
        text: Its contents.
    """
    path.unlink(missing_ok=True)
    with own(path, os.O_CREAT | os.O_EXCL) as file:
        file.write(text.encode())


def own(path: Path, flags: int = 0) -> IO[bytes]:
    """Open a regular file, not a link, to write from its beginning.

    Args:
        path: The file.
        flags: Additional flags of `os.open`.

    Raises:
        OSError: If it is a link or no regular file.
    """
    # Windows knows no such flags
    flags |= os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o666), "wb")


def _is_own(path: Path) -> bool:
    """Return True for a regular file with one name: neither a link, nor a hard link, nor a pipe."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1


def _delete(part: Path) -> None:
    """Delete a part and its description."""
    part.unlink(missing_ok=True)
    _description_of(part).unlink(missing_ok=True)


def _description_of(part: Path) -> Path:
    """Return the path of the description of a part."""
    return part.with_name(f"{part.name}.json")


def _size(path: Path) -> int:
    """Return the size of a file in bytes, 0 if it does not exist."""
    return path.stat().st_size if path.exists() else 0
