"""Reasons why a file cannot be read, in one line: its real format, or else the message of the library."""

from __future__ import annotations

from pathlib import Path

# first bytes of files of other formats, what they are and what to do
SIGNATURES = (
    (b"PK\x03\x04", "is a zip archive: unpack it, and name the files in it"),
    (b"\x1f\x8b", "is compressed by gzip: unpack it"),
    (b"BZh", "is compressed by bzip2: unpack it"),
    (b"GRIB", "is GRIB: ask for NetCDF, or convert it, as with cfgrib and xarray's to_netcdf"),
    (b"BUFR", "is BUFR: ask for NetCDF"),
    (b"%PDF", "is a PDF document, expected data"),
)
DATA = (b"\x89HDF", b"CDF", b"\x0e\x03\x13\x01", b"II", b"MM", b"\x00\x00\x00\x0cjP")  # HDF5, NetCDF, HDF4, TIFF, JP2
LONGEST = 160
# texts of libraries' errors, and their meaning
AGAIN = "fetch it again"
MEANINGS = (
    ("NetCDF: HDF error", f"it is damaged or was cut off: {AGAIN}"),
    ("NetCDF: Unknown file format", f"it is no NetCDF file, or damaged: {AGAIN}"),
    ("did not find a match in any of xarray's", f"it is no NetCDF file, or damaged: {AGAIN}"),
    ("(truncated file:", f"it was cut off: {AGAIN}"),
    ("(file signature not found)", f"it is no HDF5 file, or damaged: {AGAIN}"),
    ("could not convert string to float", "coordinates or values are text, expected numbers"),
)


def why(path: Path, error: BaseException) -> str:
    """Return the reason why a file could not be read.

    Args:
        path: The file.
        error: Error of the library that tried.

    Returns:
        A line of at most `LONGEST` characters.
    """
    if path.is_symlink() and not path.exists():
        return "it is a link that leads nowhere"
    kind = kind_of(path)
    if kind:
        return f"it {kind}"
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    # numpy's messages about arrays of text mean nothing to users
    if isinstance(error, TypeError) and ("ufunc" in text or "<U" in text):
        text = "coordinates or values are text, expected numbers"
    text = next((meaning for sign, meaning in MEANINGS if sign in text), text)
    # the path stands before the message already; the second text is a class name of xarray
    text = text.replace(str(path), "it").replace("FrozenMappingWarningOnValuesAccess", "")
    return " ".join(text.split())[:LONGEST] or type(error).__name__


def kind_of(path: Path) -> str:
    """Return what a file is if it has none of the formats of products.

    Args:
        path: The file.

    Returns:
        The end of a sentence, as 'is a zip archive: ...'; '' if the format is a possible one or the file cannot be
        opened.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(512)
    except OSError:
        return ""
    for signature, kind in SIGNATURES:
        if head.startswith(signature):
            return kind
    if not head or head.startswith(DATA):
        return ""
    # servers send error pages and JSON as text
    printable = all(byte >= 32 or byte in b"\t\r\n\f" for byte in head)
    if not printable:
        return ""
    begin = " ".join(head.decode("utf-8", "replace").split())[:40]
    return (
        f"is text that begins with '{begin}', expected data: fetch it again, a server may have sent a message instead"
    )
