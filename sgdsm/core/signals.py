"""Signals: Ctrl-C, SIGTERM and SIGHUP end a command, and its processes, with one line that says how to resume it.

Only a command handles them; in a Python session that imports the package signals stay as they were. Nothing but
Python's own library is imported here, so that a command handles signals before anything else is imported.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

TOLD = {"SIGINT": "interrupted", "SIGTERM": "ended by SIGTERM", "SIGHUP": "ended by SIGHUP"}
SIGNALS = {getattr(signal, name): text for name, text in TOLD.items() if hasattr(signal, name)}
TIDY_SECONDS = 20.0  # then it ends, whatever is still under way: it is made to be killed
HURRY_SECONDS = 3.0  # a second signal within these is the same one, sent to a process and to its group


RANKS = ("LOCAL_RANK", "RANK", "SLURM_PROCID")


class _Stop:
    """The signal that has come, and the texts that say how to resume."""

    number: int | None = None
    since = 0.0
    words: list[Callable[[], str]] = []  # noqa: RUF012, there is one such object


def at_start() -> None:
    """Make a signal end this process in one line while it imports packages, if it is a command of ours."""
    if not _is_command() or threading.current_thread() is not threading.main_thread():
        return
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, signal.SIG_IGN if _is_helper() else _end_at_once)


@contextmanager
def listening() -> Iterator[None]:
    """Turn signals into KeyboardInterrupt within; then print a line and exit with the code 128 + number.

    Only in the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    program = _is_command()
    if program:
        atexit.register(_ignore)
    before: dict[int, Any] = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, _stop)
    _Stop.number = None
    code: Any = 1
    try:
        yield
        code = 0
    except BaseException as error:
        if has_stopped(error):
            _end(error)
        code = error.code if isinstance(error, SystemExit) else 1
        raise
    finally:
        if not program:
            _Stop.number = None
            _forget_alarm()
        if not program or _Stop.number is None:
            for number, handler in before.items():
                if handler != signal.SIG_IGN:
                    signal.signal(number, _at_the_end(code) if program else handler)


@contextmanager
def going_on(words: Callable[[], str]) -> Iterator[None]:
    """Give KeyboardInterrupt within a text that says how to resume.

    Args:
        words: Returns the text; '' if there is nothing to resume.

    Raises:
        KeyboardInterrupt: A signal has come.
    """
    _Stop.words.append(words)
    try:
        yield
    except BaseException as error:
        if not has_stopped(error):
            raise
        raise KeyboardInterrupt(*_said(words)) from error
    finally:
        _Stop.words.pop()


@contextmanager
def deaf() -> Iterator[None]:
    """Start processes within that ignore Ctrl-C and the end of a terminal: this process handles both, and ends them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def has_stopped(error: BaseException) -> bool:
    """Return True if an error was caused by a signal; a library may have turned it into another error.

    Args:
        error: The error.
    """
    return isinstance(error, KeyboardInterrupt) or _Stop.number is not None


def _stop(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    if _Stop.number is not None:
        if now - _Stop.since > HURRY_SECONDS:
            _end_at_last()
        return
    _Stop.number, _Stop.since = number, now
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, lambda number, frame: _end_at_last())
        signal.setitimer(signal.ITIMER_REAL, TIDY_SECONDS)
    end_children(signal.SIGTERM)  # who waits for one of them need not wait
    raise KeyboardInterrupt


def _at_the_end(code: Any) -> Callable[[int, FrameType | None], None]:
    """Return a handler for the end of Python after a finished command: exit at once with the command's own code."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    return lambda number, frame: os._exit(code if isinstance(code, int) else int(code is not None))


def _ignore() -> None:
    """Ignore signals: Python removes handlers, then needs seconds to end; a signal would change the exit code."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _forget_alarm() -> None:
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)


def _end(error: BaseException) -> NoReturn:
    number = _Stop.number if _Stop.number is not None else signal.SIGINT
    words = [str(word) for word in error.args] if isinstance(error, KeyboardInterrupt) else []
    if not any(os.environ.get(name, "0") != "0" for name in RANKS):  # only the first process of a run writes the line
        with suppress(OSError, ValueError):  # of a terminal that is gone
            print(_line(number, words), file=sys.stderr, flush=True)
    end_children(signal.SIGKILL)
    sys.exit(128 + number)


def _end_at_once(number: int, frame: FrameType | None) -> None:
    _end_now(number, [])


def _end_at_last() -> NoReturn:
    """End this process if a stop was lost, as in a destructor, or if the clean-up does not end."""
    _end_now(_Stop.number or signal.SIGINT, _said(_Stop.words[0]) if _Stop.words else [])


def _end_now(number: int, words: list[str]) -> NoReturn:
    with suppress(OSError):
        os.write(2, f"{_line(number, words)}\n".encode())  # print may be under way
    end_children(signal.SIGKILL)
    os._exit(128 + number)


def _said(words: Callable[[], str]) -> list[str]:
    return [text] if (text := words()) else []


def _line(number: int, words: list[str]) -> str:
    return "".join([SIGNALS[signal.Signals(number)], *(f": {word}" for word in words)])


def end_children(number: int) -> None:
    """Send a signal to all processes that this one has started and that still run (where /proc lists them).

    Args:
        number: Number of the signal.
    """
    for process in _descendants(os.getpid()):
        with suppress(OSError):
            # it watches over what processes share, and ends with the last of them
            if b"resource_tracker" not in Path(f"/proc/{process}/cmdline").read_bytes():
                os.kill(process, number)


def _descendants(process: int) -> Iterator[int]:
    with suppress(OSError):
        for thread in Path(f"/proc/{process}/task").iterdir():
            for child in (thread / "children").read_text().split():
                yield from _descendants(int(child))
                yield int(child)


def _is_helper() -> bool:
    """Return True in a further process of a run that the first one ends; by itself it would end that one too."""
    started_elsewhere = "TORCHELASTIC_RUN_ID" in os.environ or "SLURM_PROCID" in os.environ
    return os.environ.get(RANKS[0], "0") != "0" and not started_elsewhere


def _is_command() -> bool:
    """Return True if this process is `python -m sgdsm`, the script `sgdsm`, train.py or predict.py of this checkout."""
    if sys.argv[:1] == ["-m"]:  # Python is still looking for the module
        words = sys.orig_argv
        return words[words.index("-m") + 1 :][:1] == ["sgdsm"] if "-m" in words else False
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if script is None:
        return False
    path, package = Path(script).resolve(), Path(__file__).resolve().parents[1]
    known = (package / "__main__.py", package.parent / "train.py", package.parent / "predict.py")
    return path in known or (path.stem == "sgdsm" and path.suffix in ("", ".exe"))
