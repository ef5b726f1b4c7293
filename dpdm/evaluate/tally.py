"""From the fields of one time step to numbers, and from the numbers of all steps to rows."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from dpdm.evaluate.bootstrap import ratio_interval, tile_sums
from dpdm.evaluate.ensemble import crps, rank_histogram, variance
from dpdm.evaluate.match import whole
from dpdm.evaluate.scores import acc, bias, consistency, rmse, ssim
from dpdm.evaluate.spectra import band_ratio, spectrum
from dpdm.fields.grid import grid_of

Row = dict[str, Any]
REFERENCE = "lerp"


def tally(
    fields: xr.DataArray,
    truth: xr.DataArray,
    normal: xr.DataArray,
    weights: xr.DataArray,
    span: float,
) -> xr.Dataset:
    """Return the scores of one time step, on dimension ``method``.

    Only cells count that no method misses, so that all methods are judged on the same ones.
    """
    truth = truth.astype(float).where(fields.notnull().all("method"))
    area = weights / weights.where(truth.notnull()).sum(min_count=1)
    return xr.Dataset(
        {
            "mse": rmse(fields, truth, weights) ** 2,
            "bias": bias(fields, truth, weights),
            "acc": acc(fields, truth, normal, weights),
            "ssim": ssim(fields, truth, weights, data_range=span),
            "crps": crps(fields, truth, weights),
            "power": spectrum(fields.where(truth.notnull())),
            "truth_power": spectrum(truth),
            "squares": tile_sums(area * (fields - truth) ** 2),
        }
    )


def tally_ensemble(
    members: xr.DataArray, truth: xr.DataArray, weights: xr.DataArray
) -> xr.Dataset:
    """Return the scores of one time step that belong to the members together."""
    centre = members.mean("realization", skipna=False)
    return xr.Dataset(
        {
            "crps": crps(members, truth, weights),
            "variance": variance(members, truth, weights),
            "mse": rmse(centre, truth, weights) ** 2,
            "rank_histogram": rank_histogram(members, truth, weights),
        }
    )


def tally_consistency(fields: xr.DataArray, coarse: xr.Dataset, name: str) -> xr.DataArray:
    """Return the squared difference to the coarse field, NaN where there is none to compare."""
    if name not in coarse or whole(coarse, grid_of(fields)) is None:
        return fields.isel(lat=0, lon=0, drop=True) * np.nan
    return consistency(fields, coarse[name]) ** 2


def method_rows(total: xr.Dataset, span: float) -> Iterator[Row]:
    """Yield a row for each method from its scores, with dimensions time and method."""
    names = total["method"].values
    methods = list(dict.fromkeys(str(name) for name in names))
    parts = {m: total.isel(method=np.flatnonzero(names == m)).mean("method") for m in methods}
    lerp = parts.get(REFERENCE)
    for method, part in parts.items():
        yield {"method": method, **summary(part, span), **against(part, lerp)}


def summary(part: xr.Dataset, span: float) -> Row:
    """Return the scores of a method over all times.

    RMSE, and PSNR with it, come from the mean squared error over time; the others are means.
    """
    means = {name: float(part[name].mean()) for name in ("mse", "bias", "acc", "ssim", "crps")}
    rmse = means.pop("mse") ** 0.5
    ratios = band_ratio(part["power"], part["truth_power"])
    return {
        "rmse": rmse,
        **means,
        "psnr": 20 * float(np.log10(span / rmse)) if rmse > 0 else None,
        **{f"spectrum_{band}": float(ratios.sel(band=band)) for band in ratios["band"].values},
        **(
            {"consistency": float(part["consistency"].mean()) ** 0.5}
            if "consistency" in part
            else {}
        ),
    }


def against(part: xr.Dataset, lerp: xr.Dataset | None) -> Row:
    """Return the ratios to lerp, with the RMSE ratio's 95% interval and what it says."""
    if lerp is None or part is lerp:
        return {} if lerp is None else {"rmse_ratio": 1.0, "crps_ratio": 1.0}
    low, high = ratio_interval(part["squares"].values, lerp["squares"].values)
    return {
        "rmse_ratio": ratio(part["mse"].mean(), lerp["mse"].mean()) ** 0.5,
        "rmse_ratio_low": low,
        "rmse_ratio_high": high,
        "crps_ratio": ratio(part["crps"].mean(), lerp["crps"].mean()),
        "verdict": verdict(low, high),
    }


def ratio(above: xr.DataArray, below: xr.DataArray) -> float:
    """Return the quotient of two numbers, NaN over nothing."""
    return float(above) / float(below) if float(below) > 0 else np.nan


def verdict(low: float, high: float) -> str:
    """Say what a 95% interval of the ratio to lerp means.

    Example:
        >>> verdict(0.8, 0.9), verdict(0.9, 1.1)
        ('better than lerp at the 95% level', 'no different from lerp at the 95% level')
    """
    if np.isnan(low):
        return "not tested against lerp"
    word = "better than" if high < 1 else "worse than" if low > 1 else "no different from"
    return f"{word} lerp at the 95% level"


def ensemble_row(total: xr.Dataset, lerp_crps: float | None) -> Row:
    """Return the row of the members together: fair CRPS, spread-skill ratio, rank histogram."""
    crps, spread, error = (float(total[name].mean()) for name in ("crps", "variance", "mse"))
    histogram = total["rank_histogram"].mean("time").values
    return {
        "method": f"ensemble of {histogram.size - 1}",
        "crps": crps,
        "crps_ratio": crps / lerp_crps if lerp_crps else None,
        "ssr": (spread / error) ** 0.5 if error > 0 else None,
        "rank_histogram": [float(share) for share in histogram],
    }
