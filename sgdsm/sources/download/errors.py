"""What can go wrong while fetching, in words."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from sgdsm.core.cube import SgdsmError

LOGINS = {
    "nasa.gov": "an Earthdata login (https://urs.earthdata.nasa.gov) with the archive's application approved in its "
    "profile, in ~/.netrc: machine urs.earthdata.nasa.gov login NAME password WORD",
    "ceda.ac.uk": "a CEDA account (https://services.ceda.ac.uk); ESA CCI soil moisture needs none: is version= right?",
}


class DownloadError(SgdsmError):
    """A file that cannot be fetched: the text names it."""


class HopelessError(DownloadError):
    """What every other file would meet too: no login, no room."""


class PassingError(Exception):
    """What may be over at the next try. everywhere: if it is not, other files of the server need not be tried."""

    def __init__(self, text: str, wait_s: float = 0.0, everywhere: bool = False) -> None:
        super().__init__(text)
        self.wait_s, self.everywhere = wait_s, everywhere


@contextmanager
def in_words(url: str, part: Path) -> Iterator[None]:
    """Errors of the network and of the disk as lines, or as what may pass."""
    from requests import exceptions

    try:
        yield
    except exceptions.SSLError as error:
        raise DownloadError(f"{shown(url)}: its certificate cannot be trusted") from error
    except exceptions.Timeout as error:
        raise PassingError("no answer in time", everywhere=True) from error
    except exceptions.ConnectionError as error:
        raise PassingError("no connection", everywhere=True) from error
    except exceptions.ChunkedEncodingError as error:
        raise PassingError("the connection broke") from error
    except exceptions.RequestException as error:
        raise DownloadError(f"{shown(url)}: {type(error).__name__}, expected an http or https address") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            text = f"{part.parent}: the disk is full; make room and go on with the same words"
            raise HopelessError(text) from error
        raise HopelessError(f"{error.filename or part}: {error.strerror}") from error


def shown(url: str) -> str:
    """An address without what may be secret in it."""
    found = urlsplit(url)
    return f"{found.scheme}://{found.netloc.rpartition('@')[2]}{found.path}"
