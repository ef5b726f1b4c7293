"""A plan that is not one: refused whole, by key, before anything is made."""

from pathlib import Path

import pytest

from dpdm.errors import DpdmError
from dpdm.prior import Prior, save_prior
from dpdm.prior.model_card import ModelCard
from dpdm.prior.networks import new_denoiser
from dpdm.prior.normaliser import Normaliser
from dpdm.prior.variable_spec import VariableSpec
from dpdm.reconstruct.plan import PLAN_RULES, read_plan
from tests.helpers.reconstruction import winter
from tests.helpers.small_world import refused

FILES = '[input]\nfiles = ["in_*.nc"]\n'
RUN = "reconstruct plan.toml out"
SAYS = {  # of a section and key that break a rule
    "observations.coarse_error": ('"often"', 'Give "auto", or a standard deviation'),
    "input.files": ("[]", 'files = ["20cr/*.nc"]'),
    "input.period": ('["1836-01"]', '["1836-01", "2015-12"]'),
    "draw.members": ("-1", "Give 0 to 100000."),
    "draw.seed": ("-1", "Give 0 to 9223372036854775807."),
    "draw.steps": ("1", "Give 2 to 1000, or 0."),
    "draw.sampler": ('"euler"', "heun, multistep, ddim"),
    "adjust.method": ('"delta"', "none, mean, quantile"),
    "adjust.reference": ('["1981-01", "1980-12"]', "the last month"),
    "observations.coarse_length": ("0", "a length in km"),
    "observations.reject": ("-0.5", "Give 0 or more."),
    "observations.withhold": ("1.0", "less than 1"),
    "observations.withhold_blocks": ('"100"', 'as in "100km"'),
    "observations.qc": ('"some"', "all, basic, none"),
    "observations.coverage": ("1.5", "a fraction from 0 to 1"),
    "prior.period": ('"years"', "any"),
    "prior.climatology_period": ('["1991-01", "1991-11"]', "of a year or more"),
    "observations.guidance": ('"magic"', "Give one of"),
    "output.layout": ('"netcdf"', "netcdf-yearly, zarr"),
    "output.keep": ('"mean"', "members, stats, all"),
    "output.quantiles": ("[90, 10]", "increasing percentiles"),
    "output.bbox": ("[100, 120]", "west, east, south, north"),
    "run.workers": ("0", "Give 1 to 1024."),
    "run.member_block": ("0", "Give 1 to 100000."),
    "run.device": ('"tpu"', "auto, cpu, cuda"),
}
PERIODS = {
    ("1836-01", "1836"): True,
    ("1836", "1836-01"): True,
    ("1836-02-28", "1836-02"): True,
    ("1836-13", "1837-01"): False,
    ("1836-01", "1836-01-32"): False,
    ("1837", "1836-12"): False,
    ("January 1836", "1837"): False,
}
STRANGE = {  # the plan: what is said, the hint
    '[input]\nfile = ["a.nc"]': ("input has an unknown key file", "Did you mean files?"),
    "[draws]\nmembers = 3": ("unknown key draws", "Did you mean draw?"),
    "[zzz]": ("unknown key zzz", "Known: input, prior, draw"),
    FILES + '[draw]\nmembers = "33"': ("draw, members is '33'", "of type int"),
    FILES + "[draw]\nmembers = 3.0": ("draw, members is 3.0", "of type int"),
    FILES + "[draw]\nconsistent = 1": ("draw, consistent is 1", "of type bool"),
    FILES + "[output]\nquantiles = 50": ("output, quantiles is 50", "Give a list"),
    FILES + 'var = "tas"': ("input, var is 'tas'", "Give pairs"),
    'input = "a.nc"': ("input is 'a.nc'", "It is a section"),
    "[input": ("plan.toml is not valid TOML", "toml.io"),
    "": ("input, files is", "Name files"),
    FILES.replace("in_", "20cr/"): ("no file matches 20cr/\\*.nc", "Check the name"),
    FILES.replace("in_*", "**"): ("'\\*\\*.nc' is not a pattern of files", "20cr"),
    FILES.replace("in_*.nc", ""): ("'' is not a pattern of files", "20cr"),
    FILES.replace("in_*.nc", "plan.toml"): ("plan.toml is not NetCDF, Zarr or GRIB", "Convert it"),
    FILES + 'var = { t2m = "tas" }': ("there is no tas", 'var = { t2m = "tp" }'),
    FILES + 'var = { pr = "tp" }': ("prior does not have", 'var = { t2m = "tp" }'),
    FILES + 'units = { pr = "mm" }': ("A unit is declared for pr", "one of t2m, tp"),
    FILES + 'units = { t2m = "furlong" }': ("furlong", 'units = { t2m = "K" } in [input]'),
    FILES + '[prior]\nname = "absent.safetensors"': ("no prior absent.safetensors", "Bundled: "),
    FILES + '[prior]\nname = "plan.toml"': ("plan.toml", ""),
    FILES + '[prior]\nname = "roads.safetensors"': ("trajectories of a, b", "name in [prior]"),
    FILES + '[prior]\nclimatology_period = ["1991", "2020"]': (
        "selects the years of a file, and climatology names none", 'climatology = "normals.nc"'),
    FILES + '[prior]\nname = "prior.safetensors"\nclimatology = "era5"': (
        "climatology in \\[prior\\] era5 is for a prior", "name in [prior]"),
    FILES + '[adjust]\nmethod = "mean"': ("without a reference period", 'reference = ["1981-01"'),
    FILES + '[adjust]\nmethod = "mean"\nreference = ["1961", "1990"]': ("from 2000-10", "within"),
    FILES + '[observations]\nfiles = ["no.csv"]': ("observations, files: no file matches", ""),
    FILES + '[draw]\nmembers = 0\n[observations]\nfiles = ["s.csv"]': ("members is 0", "Draw"),
    FILES + '[observations]\nverify = ["s.csv"]': ("verify is given without files", "Give files"),
    FILES + '[observations]\nwithhold_blocks = "9km"': ("without withhold", "Give withhold"),
    FILES + '[output]\ngrid = "no.nc"': ("no.nc", ""),
    FILES + "[output]\nbbox = [110, 120, 40, 30]": ("from latitude 40 to 30", "west, east"),
    FILES + "[output]\nbbox = [0, 10, 30, 40]": ("is not within the grid", "two cells"),
    FILES + "[draw]\nconsistent = true\n[output]\nbbox = [110, 122, 30, 42]": (
        "consistent in \\[draw\\] needs whole fine cells",
        "grid in [output] or bbox in [output]",
    ),
}  # fmt: skip


@pytest.fixture
def here(here: Path) -> Path:
    """A folder with a prior that fits and one of trajectories, and months."""
    winter().to_netcdf("in_0.nc")
    Path("coarse.nc").unlink()
    return here


def roads() -> Prior:
    """Return an untrained prior of trajectories of two numbers."""
    channels = tuple(VariableSpec(n, "", "", "", "identity", 0, 1, ()) for n in "ab")
    net = {"hidden": 4, "layers": 1}
    contract = ModelCard((1, 1), (1, 1), 1, 1.0, (0.002, 80.0), net, states=2, variable="state")
    return Prior(new_denoiser(4, net), Normaliser(channels), contract)


@pytest.mark.parametrize("key", PLAN_RULES)
def test_a_value_that_breaks_a_rule(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    value, hint = SAYS[key]
    section, name = key.split(".")
    start = "[input]\n" if key == "input.files" else FILES
    start += "" if section == "input" else f"[{section}]\n"
    Path("plan.toml").write_text(f"{start}{name} = {value}\n")
    refused(RUN, f"plan.toml, {section}, {name} is ", hint)


@pytest.mark.parametrize("period", PERIODS)
def test_a_period_is_two_dates_in_order(period: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(f"{FILES}period = {list(period)}")
    if PERIODS[period]:
        assert read_plan(path).input.period == period
    else:
        with pytest.raises(DpdmError, match="input, period is"):
            read_plan(path)


@pytest.mark.parametrize("text", STRANGE)
def test_a_plan_that_does_not_fit(text: str, here: Path) -> None:
    save_prior(roads(), Path("roads.safetensors"))
    known = "" if "[prior]" in text else '\n[prior]\nname = "prior.safetensors"\n'
    Path("plan.toml").write_text(text + known if text.startswith("[input]\n") else text)
    refused(RUN, *STRANGE[text])
