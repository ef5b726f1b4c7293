"""Judge topography and land fraction by how much of ERA5's fine temperature they explain.

    python sample_data/judge.py BUILD [--region]

needs the build folder of ``make.py`` and prints the tables of ``docs/statics.md``. ERA5's
temperature is averaged over ten by ten cells and lerped back; what is missing, r, is fitted month
by month by r = b d, where d is the detail of the topography (itself minus the lerp of its means),
or by r = b d + c l, with the detail l of the land fraction. The score is the root mean square of
what remains over that of r. Nothing within 4 degrees of the test region, 15 to 55N, 95 to 150E,
counts; ``--region`` gives its number, for the record only.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import relief
import xarray as xr
from fetch import sources
from numpy.typing import NDArray

from dpdm.fields.grid import grid_of
from dpdm.fields.regrid import coarsen_fields, interpolate_bilinear

Array = NDArray[Any]
Mask = NDArray[np.bool_]
ROWS = relief.LAT[:720]  # whole blocks
MOVE = (-0.05, 0.18)  # degrees north and east: ETOPO5's registration


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Judge topography and land fraction.")
    parser.add_argument("build", type=Path)
    parser.add_argument("--region", action="store_true", help="score the test region, too")
    options = parser.parse_args()
    files = sources(options.build.resolve())
    judge = Judge(options.build / "era5_climatology.nc", relief.land(files["mask"]))
    if options.region:
        judge.areas = {"test region": judge.region & judge.dry}
    raw = Raw(files)
    show("topography", judge, topographies(raw))
    if not options.region:
        places(raw)
        show("width", judge, widths(raw))
        show("moved north, east", judge, moves(raw))
        judge.coasts()
        show("land fraction", judge, lands(raw))


class Raw:
    """Hold the sources on 5 minute cells."""

    def __init__(self, files: dict[str, Path]) -> None:
        self.tiles, self.known = relief.altitude(files["pvlib"])
        self.cdo = relief.coarse_relief(files["cdo"])
        self.soil, self.water = relief.land(files["mask"]), relief.lakes(files["lakes"])
        self.mended = relief.surface(self.tiles, self.known, self.cdo, self.soil)
        with xr.open_dataset(files["etopo5"], decode_times=False) as file:
            self.etopo5 = np.maximum(file["ROSE"].values[:2160], 0)


class Judge:
    """Score details of fields against ERA5's temperature."""

    def __init__(self, era5: Path, soil: Array) -> None:
        with xr.open_dataset(era5) as file:
            warm = file["t2m"].isel(lat=slice(0, 720)).load()
        self.rest = detail(warm.values)
        self.area = grid_of(warm).weights
        lat, lon = np.meshgrid(ROWS, relief.LON, indexing="ij")
        self.region = (abs(lat - 35) <= 20) & (abs(lon - 122.5) <= 27.5)
        self.away = ~((abs(lat - 35) <= 24) & (abs(lon - 122.5) <= 31.5)) & (lat < 85)
        self.dry = read(soil, relief.WIDTH) > 0.5
        greenland = (lat > 60) & (lon > 300) & (lon < 350)
        land = self.away & self.dry
        self.areas = {
            "all north of 60S": land & (lat > -60),
            "America": land & (lat > -60) & (lon > 190) & (lon < 330) & ~greenland,
            "Greenland": land & greenland,
            "Europe, Africa": land & ((lon < 60) | (lon > 330)) & (lat > -60) & ~greenland,
            "Antarctica": land & (lat <= -60),
        }
        self.lat = lat
        self.given: list[Array] = []

    def score(self, fields: Iterable[Array], area: Mask) -> float:
        """Return what the best linear fit of each month leaves over, relative to r."""
        known = np.stack([field[area] for field in [*self.given, *fields]]).astype(float)
        rest, weights = self.rest[:, area].astype(float), self.area[area]
        gram, match = known * weights @ known.T, known * weights @ rest.T
        whole = (rest**2 * weights).sum()
        left = whole - (match * (np.linalg.pinv(gram) @ match)).sum()
        return float(np.sqrt(left / whole))

    def coasts(self) -> None:
        """Judge land fractions from now on, on land and sea, given the bundled topography."""
        with xr.open_dataset(Path(relief.__file__).parents[1] / "dpdm/data/statics.nc") as file:
            self.given = [detail(file["topography"].values)]
            land = detail(file["land_fraction"].values)
        near = self.away & (abs(land) > 0.03)
        lakes = great_lakes(ROWS, relief.LON)
        self.areas = {
            "60S to 60N": near & (abs(self.lat) < 60),
            "north of 60N": near & (self.lat >= 60),
            "great lakes": self.away & lakes,
            "Antarctica": near & (self.lat <= -60),
        }


def great_lakes(lat: Array, lon: Array) -> Mask:
    """Mark boxes around lakes of North America, Africa, Karelia and Canada."""
    boxes = [(41, 49, 267, 284), (-4, 2, 31, 35), (60, 63, 29, 37), (60, 68, 234, 252)]
    rows, columns = lat[:, None], lon[None, :]
    inside = [(rows > s) & (rows < n) & (columns > w) & (columns < e) for s, n, w, e in boxes]
    return np.asarray(np.any(inside, axis=0))


def detail(values: Array) -> Array:
    """Return a field minus the lerp of its means over ten by ten cells."""
    dims = ("time", "lat", "lon")[-values.ndim :]
    field = xr.Dataset({"x": (dims, values[..., :720, :].astype(np.float32))})
    field = field.assign_coords(lat=ROWS, lon=relief.LON)
    return np.asarray(
        (field - interpolate_bilinear(coarsen_fields(field, 10), grid_of(field)))["x"].values
    )


def read(field: Array, width: float, move: tuple[float, float] = (0, 0)) -> Array:
    """Filter a source moved north and east, on the rows of whole blocks."""
    return relief.smooth(field, width, ROWS - move[0], -move[1])[:, ::3]


def box(field: Array) -> Array:
    """Average over 0.25 degree cells."""
    halves = np.repeat(np.repeat(field, 2, 0), 2, 1)
    around = np.roll(np.pad(halves, ((3, 0), (0, 0)), "edge")[:4320], 3, axis=1)
    means: Array = around.reshape(720, 6, 1440, 6).mean((1, 3))
    return means


def topographies(raw: Raw) -> dict[str, Array]:
    """List the sources alone and combined."""
    point = (-relief.STEP / 2, -relief.STEP / 2)  # ETOPO5 has points where cells have corners
    moved = (point[0] + MOVE[0], point[1] + MOVE[1])
    etopo5, cdo = read(raw.etopo5, 0.15, moved), read(raw.cdo, 0.01)
    mended = read(raw.mended, relief.WIDTH)
    return {
        "ETOPO5 as it comes, 0.15": read(raw.etopo5, 0.15, point),
        "ETOPO5 moved, 0.15": etopo5,
        "cdo, 0.2": cdo,
        "cdo and ETOPO5 moved, half each": (cdo + etopo5) / 2,
        "tiles, mean over cells": box(raw.tiles),
        "tiles, 0.15": read(raw.tiles, 0.15),
        "tiles mended, 0.15": mended,
        "  with 10 % ETOPO5": 0.9 * mended + 0.1 * etopo5,
        "  with 20 % ETOPO5": 0.8 * mended + 0.2 * etopo5,
        "  with 10 % cdo": 0.9 * mended + 0.1 * cdo,
    }


def widths(raw: Raw) -> dict[str, Array]:
    """List widths of the filter."""
    return {f"{w:.2f}": read(raw.mended, w) for w in (0.11, 0.13, 0.14, 0.15, 0.16, 0.17, 0.2)}


def moves(raw: Raw) -> dict[str, Array]:
    """List moves of the tiles, and of ETOPO5."""
    tiles = {
        f"tiles {n:+.2f} {e:+.2f}": read(raw.mended, relief.WIDTH, (n, e))
        for n, e in ((0, 0), (0.03, 0), (-0.03, 0), (0, 0.03), (0, -0.03))
    }
    half = relief.STEP / 2
    return tiles | {
        f"ETOPO5 {n:+.2f} {e:+.2f}": read(raw.etopo5, 0.15, (n - half, e - half))
        for n, e in ((-0.05, 0.18), (-0.02, 0.18), (-0.08, 0.18), (-0.05, 0.14), (-0.05, 0.22))
    }


def lands(raw: Raw) -> dict[str, Array]:
    """List land fractions."""
    none = np.zeros_like(raw.water)
    dry = relief.ground(raw.known, raw.soil, raw.water)
    return {
        "none": np.zeros((720, 1440)),
        "mask, mean over cells": box(raw.soil),
        "with ice shelves, without Caspian Sea": box(relief.ground(raw.known, raw.soil, none)),
        "without lakes, too": box(dry),
        "the same, 0.10": read(dry, 0.10),
        "the same, 0.15": read(dry, 0.15),
        "the same, 0.20": read(dry, 0.20),
    }


def places(raw: Raw) -> None:
    """Print how far the tiles must move to lie on the land mask, and the others on the tiles."""
    half = relief.STEP / 2
    pairs = {
        "tiles onto the land mask": (relief.single(raw.known), raw.soil, 0.0),
        "cdo onto the tiles": (raw.cdo, raw.tiles, 0.0),
        "ETOPO5 onto the tiles": (raw.etopo5, raw.tiles, half),
    }
    print("\n| in America | north | east |\n|---|---|---|")
    for name, (moving, still, corner) in pairs.items():
        a, b = (relief.blur(x, 0.15) - relief.blur(x, 1.0) for x in (moving, still))
        north, east = (vertex(a, b, axis) + corner for axis in (0, 1))
        print(f"| {name} | {north:+.3f} | {east:+.3f} |")


def vertex(moving: Array, still: Array, axis: int) -> float:
    """Return the move (degrees) with the best correlation, at the vertex of a parabola."""
    part = (slice(360, 1920), slice(2280, 3960))
    cells, fixed = np.arange(-4, 5), still[part].ravel()
    match = [np.corrcoef(fixed, np.roll(moving, n, axis)[part].ravel())[0, 1] for n in cells]
    best = int(np.argmax(match[1:-1])) + 1
    before, top, after = match[best - 1 : best + 2]
    shift = cells[best] + (before - after) / 2 / (before - 2 * top + after)
    return float(shift * relief.STEP)


def show(title: str, judge: Judge, fields: dict[str, Array]) -> None:
    """Print one table in Markdown."""
    print(f"\n| {title} | {' | '.join(judge.areas)} |\n|---|{'---|' * len(judge.areas)}")
    for name, field in fields.items():
        scores = [judge.score([detail(field)], area) for area in judge.areas.values()]
        print(f"| {name} | {' | '.join(f'{score:.3f}' for score in scores)} |")


if __name__ == "__main__":
    main()
