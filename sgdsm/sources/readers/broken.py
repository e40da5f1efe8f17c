"""Why a file cannot be read, in one line: what it is, where its first bytes tell, else what the library said."""

from __future__ import annotations

from pathlib import Path

# how files of other kinds begin, what they are and what to do
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
# what libraries say, and what it means
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
    """The reason why a file could not be read; error: of the library that tried."""
    if path.is_symlink() and not path.exists():
        return "it is a link that leads nowhere"
    told = kind_of(path)
    if told:
        return f"it {told}"
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if isinstance(error, TypeError) and ("ufunc" in text or "<U" in text):
        text = "coordinates or values are text, expected numbers"
    text = next((meaning for sign, meaning in MEANINGS if sign in text), text)
    text = text.replace(str(path), "it").replace("FrozenMappingWarningOnValuesAccess", "")
    return " ".join(text.split())[:LONGEST] or type(error).__name__


def kind_of(path: Path) -> str:
    """What a file is that is no data of a kind that the products have; '' where it may be, or cannot be looked at."""
    try:
        with path.open("rb") as stream:
            head = stream.read(512)
    except OSError:
        return ""
    for signature, told in SIGNATURES:
        if head.startswith(signature):
            return told
    if not head or head.startswith(DATA):
        return ""
    printable = all(byte >= 32 or byte in b"\t\r\n\f" for byte in head)
    if not printable:
        return ""
    begin = " ".join(head.decode("utf-8", "replace").split())[:40]
    return (
        f"is text that begins with '{begin}', expected data: fetch it again, a server may have sent a message instead"
    )
