"""Whether data sets can have independent errors, as far as their files tell."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import permutations

import numpy as np
import xarray as xr

from sgdsm.core.filled import COVARIATES, SM_FILLED

# what stands in names and attributes of a family of products that share a model or its weather
FAMILIES = {
    "ECMWF": ("era5", "erainterim", "ecmwf", "mediumrangeweather"),
    "GEOS": ("merra", "geos5", "gmao", "smapl4", "spl4"),
    "GLDAS": ("gldas",),
    "NLDAS": ("nldas",),
}
# names that only ECMWF gives
ECMWF_NAMES = re.compile(r"swvl\d|stl\d|t2m|d2m|u10|v10|skt|ssrd|strd|tp", re.IGNORECASE)
TOLD = ("source", "institution", "title", "product", "product_version", "id", "long_name", "comment")
SAME = 0.5  # share of equal values from which two products are taken to hold the same observations


def covariates_of(about: Mapping[str, object]) -> dict[str, str] | None:
    """Return the covariates of a filled file and their products ('' where not known); None where it does not say.

    Args:
        about: Attributes of the file.
    """
    try:
        told = json.loads(str(about[COVARIATES]))
    except (KeyError, ValueError, RecursionError):
        return None
    return {str(k): str(v) for k, v in told.items()} if isinstance(told, dict) else None


def dependences(variables: Mapping[str, xr.DataArray], files: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Return why the errors of data sets depend on each other, by what their files tell; empty where nothing does.

    A product whose gaps were filled with a reanalysis has errors of that reanalysis.

    Args:
        variables: By the name of the data set, its variable.
        files: The same, the attributes of its file.
    """
    found = []
    covariates = {name: covariates_of(about) or {} for name, about in files.items()}
    for one, other in permutations(variables, 2):
        for covariate, product in covariates[one].items():
            if covariate == str(variables[other].name):
                found.append(f"'{one}' is filled with the covariate '{covariate}', which '{other}' is")
            elif not covariates[other] and _alike(covariate, product, variables[other], files[other]):
                found.append(
                    f"'{one}' is filled with the covariate '{covariate}'{f' of {product}' if product else ''}, "
                    f"which '{other}' is made of too"
                )
            elif one < other and covariates[other].get(covariate) == product:
                found.append(f"'{one}' and '{other}' are both filled with the covariate '{covariate}'")
    return found


def unsaid(variables: Mapping[str, xr.DataArray], files: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Return the names of filled data sets whose files do not say which covariates, of which products, they rest on."""
    told = {n: covariates_of(files[n]) for n, variable in variables.items() if variable.name == SM_FILLED}
    return [n for n, covariates in told.items() if covariates is None or "" in covariates.values()]


def equal_share(one: np.ndarray, other: np.ndarray) -> float:
    """Return the share of equal values among those that both data sets have; 0 where these are few.

    Args:
        one: Values, NaN in gaps.
        other: Values at the same places.
    """
    both = np.isfinite(one) & np.isfinite(other)
    if both.sum() < 100:
        return 0.0
    # files keep values in float32 or packed
    return float(np.isclose(one[both], other[both], rtol=1e-5, atol=0).mean())


def _alike(covariate: str, product: str, variable: xr.DataArray, about: Mapping[str, object]) -> bool:
    told = [str(attrs.get(key, "")) for attrs in (variable.attrs, about) for key in TOLD]
    if product and any(_squeezed(product) in _squeezed(text) for text in told):
        return True
    return bool(_families(covariate, [product]) & _families(str(variable.name), told))


def _families(name: str, told: list[str]) -> set[str]:
    texts = [_squeezed(text) for text in told]
    found = {family for family, words in FAMILIES.items() if any(word in text for word in words for text in texts)}
    return found | ({"ECMWF"} if ECMWF_NAMES.fullmatch(name) else set())


def _squeezed(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())
