"""Errors of downloads, as one line that says what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from sgdsm.core.errors import SgdsmError

LOGINS = {
    "nasa.gov": "an Earthdata login (https://urs.earthdata.nasa.gov) with the archive's application approved in its "
    "profile, in ~/.netrc: machine urs.earthdata.nasa.gov login NAME password WORD",
    "ceda.ac.uk": "a CEDA account (https://services.ceda.ac.uk); ESA CCI soil moisture needs none: is version= right?",
}


class DownloadError(SgdsmError):
    """A file cannot be fetched: the text names it."""


class HopelessError(DownloadError):
    """An error that every other file would meet too: no login, no space."""


class PassingError(Exception):
    """An error that may be over at the next try.

    Args:
        text: What happened.
        wait_s: Seconds that the server asks to wait.
        everywhere: True if, should it last, other files of the server need not be tried.
    """

    def __init__(self, text: str, wait_s: float = 0.0, everywhere: bool = False) -> None:
        super().__init__(text)
        self.wait_s, self.everywhere = wait_s, everywhere


@contextmanager
def in_words(url: str, part: Path) -> Iterator[None]:
    """Turn errors of the network and of the disk into a DownloadError, or into a PassingError.

    Args:
        url: Address that is fetched.
        part: File that is written.

    Raises:
        PassingError: If the error may be over at the next try.
        HopelessError: If the disk is full or cannot be written.
        DownloadError: For other errors.
    """
    from requests import exceptions

    try:
        yield
    except exceptions.SSLError as error:
        raise DownloadError(f"{shown(url)}: its certificate cannot be trusted") from error
    except exceptions.Timeout as error:
        raise PassingError("no answer in time", everywhere=True) from error
    # ChunkedEncodingError is no ConnectionError: there the server answered, and broke off later
    except exceptions.ConnectionError as error:
        raise PassingError("no connection", everywhere=True) from error
    except exceptions.ChunkedEncodingError as error:
        raise PassingError("the connection broke") from error
    except exceptions.RequestException as error:
        raise DownloadError(f"{shown(url)}: {type(error).__name__}, expected an http or https address") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            text = f"{part.parent}: the disk is full; make room, then run the same command again"
            raise HopelessError(text) from error
        raise HopelessError(f"{error.filename or part}: {error.strerror}") from error


def shown(url: str) -> str:
    """Return an address without user, password and query, which may be secret.

    Args:
        url: The address.
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
