"""Files over HTTP: several at once, each going on where it stopped, none under its name before it is whole.

A file on its way is `NAME.part`, and `NAME.part.json` says of what.
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

from sgdsm.core.cube import log
from sgdsm.sources.download.answers import CHUNK, TIMEOUT_S, check_answer, continues, declared, from_sidecar, validator
from sgdsm.sources.download.errors import DownloadError, HopelessError, PassingError, in_words, shown

if TYPE_CHECKING:
    import requests

TRIES = 5  # without a byte more
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 120.0  # whatever a server asks for
TELL_EVERY_S = 15.0
GRACE_S = 2.0  # for what is on its way when all is stopped
DEADLINE_MINUTES = 120.0


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


@dataclass
class _Task:
    """A file that a thread is to fetch. begun: when it started, in seconds. had: bytes that were there by then."""

    job: Job
    target: Path
    stop: threading.Event = field(default_factory=threading.Event)
    begun: float | None = None
    had: int = 0

    @property
    def part(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part")

    def late(self, deadline_s: float) -> DownloadError | None:
        """The error that it is if it has taken longer than that."""
        if self.begun is None or time.monotonic() - self.begun < deadline_s:
            return None
        kind = DownloadError if _size(self.part) > self.had else HopelessError
        return kind(
            f"{shown(self.job.url)}: not whole after {deadline_s / 60:g} minutes (deadline_minutes); what came is "
            "kept, the same words go on, with a larger one where the server is slow"
        )


_End = tuple[_Task, BaseException | None]


def fetch_all(
    jobs: Sequence[Job], folder: str | Path, workers: int = 4, deadline_minutes: float = DEADLINE_MINUTES
) -> int:
    """Fetch files into a folder and return how many; those that are there already are left alone.

    deadline_minutes: for each file, from its first byte to its last, waits and new tries included.

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
    tasks = [_Task(job, target) for target, job in targets.items() if not _there(job, target)]
    try:
        errors = _in_threads(tasks, workers, deadline_minutes * 60, new_session)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("what came is kept; go on with the same words") from None
    _raise_first(errors, len(targets))
    return len(tasks)


def _in_threads(
    tasks: Sequence[_Task], workers: int, deadline_s: float, new_session: Callable[[], requests.Session]
) -> list[BaseException]:
    """Fetch files in so many threads; the errors of those that failed, the first of all that is hopeless ends them.

    A thread may be held by a server that sends a byte now and then, so nobody waits for one: a file that is late is
    given up, and another thread takes the place of its own.
    """
    todo: SimpleQueue[_Task] = SimpleQueue()
    ended: SimpleQueue[_End] = SimpleQueue()
    for task in tasks:
        todo.put(task)

    def work() -> None:
        with new_session() as session, suppress(Empty):
            while True:
                task = todo.get_nowait()
                task.had, task.begun = _size(task.part), time.monotonic()
                error = _outcome(task, session)
                ended.put((task, error))
                if task.stop.is_set() or isinstance(error, HopelessError):
                    return

    threads = [_started(work) for _ in range(min(workers, len(tasks)))]
    waiting, errors, told = list(tasks), list[BaseException](), time.monotonic()
    try:
        while waiting and not any(isinstance(error, HopelessError) for error in errors):
            found = _wait(ended, min(TELL_EVERY_S, deadline_s / 10))
            for task in waiting:
                if (late := task.late(deadline_s)) is not None:
                    task.stop.set()
                    threads.append(_started(work))
                    found.append((task, late))
            for task, error in found:
                if task in waiting:
                    waiting.remove(task)
                    errors += [error] if error else []
            if time.monotonic() - told > TELL_EVERY_S or not waiting:
                told = time.monotonic()
                log.info("%d of %d files", len(tasks) - len(waiting), len(tasks))
    finally:
        for task in tasks:
            task.stop.set()
        end = time.monotonic() + GRACE_S
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
    return errors


def _wait(ended: SimpleQueue[_End], seconds: float) -> list[_End]:
    with suppress(Empty):
        return [ended.get(timeout=seconds)]
    return []


def _started(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def _outcome(task: _Task, session: requests.Session) -> BaseException | None:
    try:
        if not task.stop.is_set():
            _fetch(task, session)
    except _StoppedError:
        return None
    except BaseException as error:  # it is raised where it is waited for, as those of an executor
        return error
    return None


def inside(folder: Path, path: str) -> Path:
    """The place of a path below a folder. Raises DownloadError for one that would leave it."""
    try:
        target = (folder / path).resolve()
    except (ValueError, OSError) as error:
        raise DownloadError(f"{path!r}: not a name of a file") from error
    if not path or not target.is_relative_to(folder.resolve()) or target == folder.resolve():
        raise DownloadError(f"{path!r}: would be written outside {folder}")
    for name in target.relative_to(folder.resolve()).parts:
        if not name.isprintable() or name.startswith(".") or "\\" in name or name.endswith((".part", ".part.json")):
            raise DownloadError(
                f"{path!r}: expected a name without control characters, backslashes, a leading dot or .part at its end"
            )
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


def _fetch(task: _Task, session: requests.Session) -> None:
    job, part, stop = task.job, task.part, task.stop
    tries, most = 0, _size(part)
    while True:
        try:
            with in_words(job.url, part):
                part.parent.mkdir(parents=True, exist_ok=True)
                state = _state(part, job.url)
                if state is None or state.size != _size(part):
                    state = _receive(job, part, state, session, stop)
                _check(job, part, state, session)
                if stop.is_set():
                    raise _StoppedError
                part.replace(task.target)
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
    length = headers.get("Content-Length")
    size = int(length) if length and length.isdecimal() else None
    if job.size is not None and size not in (None, job.size):
        raise DownloadError(f"{shown(job.url)}: has {size} bytes, expected {job.size}")
    state = _Part(job.url, validator(headers), size if size is not None else job.size, declared(headers))
    # first the old bytes go: they must never stand beside the new description
    write_own(part, "")
    write_own(_beside(part), json.dumps(asdict(state)))
    return state


def _state(part: Path, url: str) -> _Part | None:
    if not (_is_own(part) and _is_own(_beside(part))):
        return None
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


def write_own(path: Path, text: str) -> None:
    """Write a file that is new, whatever lay there: a link is not followed."""
    path.unlink(missing_ok=True)
    with own(path, os.O_CREAT | os.O_EXCL) as file:
        file.write(text.encode())


def own(path: Path, flags: int = 0) -> IO[bytes]:
    """A file opened to write from its beginning on, if it is a regular one and no link. Raises OSError otherwise."""
    # Windows knows no such flags
    flags |= os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o666), "wb")


def _is_own(path: Path) -> bool:
    """Whether it is a file that is nowhere else: neither a link, nor a second name of another file, nor a pipe."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _beside(part).unlink(missing_ok=True)


def _beside(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
