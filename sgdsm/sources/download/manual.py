"""How to get the products that `download` does not fetch by itself: an account, what to ask for, where to put it.

Readers search a folder with all its subfolders and recognize files by their names: keep the names, any folders will do.
"""

EARTHDATA = (
    "Account: https://urs.earthdata.nasa.gov, put into ~/.netrc as\n"
    "  machine urs.earthdata.nasa.gov login NAME password WORD\n"
)
LIST = (
    "Save the list of links that the page offers as links.txt, then\n"
    "  python -m sgdsm download product=links links=links.txt output=FOLDER"
)
GES_DISC = f"{EARTHDATA}and approve the application 'NASA GESDISC DATA ARCHIVE' in its profile.\n"
ELSEWHERE = {
    "c3s": "C3S soil moisture, daily, 0.25 degree (nearly the algorithm of ESA CCI, up to date within weeks).\n"
    "Account: https://cds.climate.copernicus.eu, with the licence of the data set accepted.\n"
    "Ask for: https://cds.climate.copernicus.eu/datasets/satellite-soil-moisture, 'Volumetric surface soil moisture',\n"
    "combined, daily, both CDR and ICDR of one version.\n"
    "Unpack the zip files: C3S-SOILMOISTURE-L3S-*.nc in one folder.",
    "esa_cci_gapfilled": "ESA CCI COMBINED_GAPFILLED (to compare with; its filled values are no observations).\n"
    "No account: https://researchdata.tuwien.at, search for 'ESA CCI SM GAPFILLED'; one zip file a year.\n"
    "Unpack them: ESACCI-SOILMOISTURE-L3S-SSMV-COMBINED_GAPFILLED-*.nc in one folder.",
    "smos": "SMOS L3 soil moisture of CATDS, daily, 25 km EASE-Grid 2.0.\n"
    "Account: https://www.catds.fr (free), which opens an FTP site.\n"
    "Ask for: MIR_CLF31A (ascending, 06:00) and MIR_CLF31D (descending, 18:00), the reprocessed and the operational.\n"
    "Unpack the archives: SM_*_MIR_CLF31?_*.DBL.nc in one folder, ascending and descending apart.",
    "lprm": f"LPRM AMSR2 soil moisture, daily, 25 km or 10 km.\n{GES_DISC}"
    "Ask for: LPRM_AMSR2_A_SOILM3 and LPRM_AMSR2_D_SOILM3 (25 km), or LPRM_AMSR2_DS_?_SOILM3 (10 km), at\n"
    f"https://disc.gsfc.nasa.gov. {LIST}",
    "gldas": f"GLDAS Noah 2.1, 3-hourly, 0.25 degree.\n{GES_DISC}"
    f"Ask for: GLDAS_NOAH025_3H 2.1 at https://disc.gsfc.nasa.gov, whole files rather than subsets. {LIST}",
    "gpm_imerg": f"GPM IMERG daily precipitation, 0.1 degree.\n{GES_DISC}"
    f"Ask for: GPM_3IMERGDF 07 at https://disc.gsfc.nasa.gov. {LIST}",
    "modis": f"MODIS NDVI (MOD13), land surface temperature (MOD11) and land cover (MCD12), tiles.\n{EARTHDATA}"
    "Ask for: MOD13A2, MOD11A1 or MCD12Q1, version 061, at https://search.earthdata.nasa.gov. " + LIST,
    "gleam": "GLEAM evaporation and soil moisture, daily, 0.1 or 0.25 degree.\n"
    "Account: the form at https://www.gleam.eu, which answers by mail with an SFTP address.\n"
    "Fetch with any SFTP program; one file for each variable and year.",
    "ascat": "ASCAT soil moisture: H SAF, or EUMETSAT.\n"
    "Account: https://hsaf.meteoam.it (FTP), or https://data.eumetsat.int ('ASCAT Soil Moisture at 25 km').\n"
    "Fetch the NetCDF form into one folder.",
    "cgls": "Copernicus Land soil moisture: SSM 1 km and SWI 1 km (Europe), SWI 0.1 degree (global).\n"
    "Account: https://dataspace.copernicus.eu. Ask for the NetCDF files c_gls_SSM1km_*.nc or c_gls_SWI*.nc.",
    "ismn": "ISMN in-situ stations, to validate with.\n"
    "Account: https://ismn.earth (free; it may not be passed on). Ask for soil moisture, in the CEOP form or\n"
    "with header and values. Leave the zip file as it is, or unpack it.",
}
