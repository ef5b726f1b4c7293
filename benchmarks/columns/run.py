r"""Profiles of temperature over North America from surface and sounder, against regression.

The columns are an analysis of the real atmosphere, of one day; what is seen of them is simulated:
temperature at 2 m and pressure at the surface (errors 1 K and 100 Pa), and the five channels of
``sample_data/sounder.nc`` (0.3 K, neighbours correlated). Height and latitude are known. A prior
of single states, ``dpdm train --window 1``, learns from the columns of split *train*; all test
columns are then estimated side by side. The law, the Gaussian that the network sets out from,
tells guidance what noise hides, so that one evaluation of the network a step suffices.

- **surface** is climatological regression, which the target names: linear, from surface values;
- **regression** sees the channels too: optimal interpolation with the train columns' covariance;
- **kernels** is kernel ridge regression on the same, the hardest rival in the mean;
- **law alone** is dpdm with a network that says nothing, and should be regression;
- **widened** spreads by the factor that is right on the validation split.

RMSE and CRPS (K) are over all values above ground; the intervals (95%) of ratios of RMSEs are a
bootstrap over blocks of 650 km. The last column is the RMSE for the US Standard Atmosphere, which
no split holds, seen with as many draws of the errors as there are members. Ridge, width and
``prior.toml`` were chosen on the validation split.
"""

from argparse import Namespace
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import common
from benchmarks.columns.references import (
    Kernel,
    Regression,
    chosen,
    climate,
    kernel,
    neighbours,
    regression,
)
from benchmarks.columns.scores import Estimate, Score, interval, middle, score, widened
from benchmarks.columns.state import (
    FILES,
    Air,
    Array,
    Sight,
    columns,
    names,
    sight,
    standard,
    write_states,
)
from dpdm.diffusion.denoise import expand_sigma
from dpdm.diffusion.guidance import CovarianceDenoiser, Observation, static_covariance
from dpdm.diffusion.noise import MemberNoise
from dpdm.nets.mlp import MLP
from dpdm.prior import Prior, find_prior, load_prior
from dpdm.prior.windows import state_scaling, window_denoiser
from dpdm.states.options import SamplerConfig
from dpdm.states.sampling import draw_samples
from dpdm.types import Fields, Sigma

SAMPLER = SamplerConfig("multistep", 16, sigma_max=20.0, sigma_min=0.01)
ITERATIONS = 14  # of conjugate gradients, for nine values
MINUTES = 6
HEAD = ("who", "RMSE", "CRPS", "SSR", "over surface's", "over regression's", "standard")
SEEDS = {"validation": 1, "test": 2}
WIDE = "dpdm, widened"


def main() -> None:
    """Print the tables and the targets."""
    options = asked()
    air, levels = columns(FILES[0])
    prior = load_prior(
        find_prior(options.prior) if options.prior else taught(air, levels, options.build)
    )
    panel = Panel(prior, air, sight(FILES[1], levels), options.members)
    width = panel.widths
    print(
        f"ridge {panel.regressions[1]:g}", {k: round(v, 2) for k, v in width.items()}, flush=True
    )
    wanted = air[options.split]
    found = panel.all(wanted, SEEDS[options.split])
    found |= {f"{who}, widened": widened(found[who], each) for who, each in width.items()}
    scored = {who: score(each, wanted.truth) for who, each in found.items()}
    away = standard(levels, options.members)
    aside = {who: score(each, away.truth).rmse() for who, each in panel.all(away, 3).items()}
    rows = list(lines(scored, aside, wanted))
    print(common.table(HEAD, rows) + "\n\n" + by_level(scored, levels))
    figures: dict[str, Any] = {r[0]: dict(zip(HEAD[1:], r[1:], strict=True)) for r in rows}
    settings = {k: str(v) for k, v in vars(options).items()}
    if options.picture:
        picture(options.picture, wanted, levels, found)
    common.close("columns", {"settings": settings} | figures, targets(scored))


def asked() -> Namespace:
    """Return the options."""
    parser = common.parser(__doc__)
    parser.set_defaults(prior="")
    parser.add_argument("--members", type=int, default=30)
    parser.add_argument("--split", choices=list(SEEDS), default="test")
    parser.add_argument("--picture", type=Path, help="draw three columns there (matplotlib)")
    return parser.parse_args()


def taught(air: dict[str, Air], levels: Array, build: Path) -> Path:
    """Return a prior trained in the build folder, with the command that a user has."""
    states, prior = build / "columns.nc", build / "columns.safetensors"
    if not prior.exists():
        write_states(air, names(levels), states)
        recipe = Path(__file__).with_name("prior.toml")
        words = ("--out", prior, "--config", recipe, "--minutes", MINUTES)
        common.dpdm("train", states, "--window", 1, *words)
    return prior


@dataclass(frozen=True)
class Panel:
    """All who estimate columns.

    Attributes:
        prior: The prior of states.
        air: The columns by split.
        seen: What is seen of them.
        members: Members of an analysis.
    """

    prior: Prior
    air: dict[str, Air]
    seen: Sight
    members: int

    @cached_property
    def regressions(self) -> tuple[Regression, float]:
        """Give the regression on all that is seen, and its ridge."""
        return chosen(self.air["train"], self.air["validation"], self.seen)

    @cached_property
    def kernels(self) -> Kernel:
        """Give the kernel regression on all that is seen."""
        return kernel(self.air["train"], self.air["validation"], self.seen, self.regressions[0])

    @cached_property
    def widths(self) -> dict[str, float]:
        """Give the factors that make spreads as large as errors on the validation split."""
        held = self.air["validation"]
        found = self.best(self.seen.of(held.state, SEEDS["validation"]))
        return {who: 1 / score(each, held.truth).ssr() for who, each in found.items()}

    def best(self, y: Array) -> dict[str, Estimate]:
        """Return what dpdm and its hardest rivals make of columns seen as y."""
        drawn = analysed(self.prior, self.seen, y, self.members)
        return {"dpdm": drawn, "regression": self.regressions[0](y), "kernels": self.kernels(y)}

    def all(self, wanted: Air, seed: int) -> dict[str, Estimate]:
        """Return what everyone makes of the same observations of some columns."""
        train, near = self.air["train"], self.seen.surface
        y = self.seen.of(wanted.state, seed)
        few = y[:, : len(near.matrix)]
        return {
            "climate": climate(train, len(y)),
            "surface": regression(train, near)(few),
            "neighbours": neighbours(train, self.seen, y),
            "dpdm, surface": analysed(self.prior, near, few, self.members),
            "dpdm, law alone": analysed(self.prior, self.seen, y, self.members, silent=True),
            **self.best(y),
        }


def analysed(prior: Prior, seen: Sight, y: Array, members: int, silent: bool = False) -> Array:
    """Return members (M, N, K) of columns seen as y (N, ...), all columns side by side.

    Args:
        prior: The prior of states.
        seen: What is seen of them.
        y: Values in units of their errors.
        members: How many.
        silent: Whether the law speaks alone.
    """
    mean, std = (each.numpy() for each in state_scaling(prior))
    matrix = torch.from_numpy(seen.matrix * std).float()
    value = torch.from_numpy(y - seen.matrix @ mean).float()
    observed = Observation(lambda x: x.flatten(1) @ matrix.T, value, torch.ones(len(matrix)))
    posterior = static_covariance(bound(prior, silent), observed, ITERATIONS)

    def side_by_side(x_t: Fields, sigma: Sigma) -> Fields:
        return posterior(x_t[0], sigma.expand(len(y)))[None]

    own = MemberNoise((len(y), 1, len(mean)), 0, "columns")
    drawn = torch.stack(list(draw_samples(side_by_side, own, range(members), SAMPLER)))
    x: Array = drawn[:, :, 0].double().numpy() * std + mean
    return x[..., : -len(seen.surface.matrix)]


def bound(prior: Prior, silent: bool) -> CovarianceDenoiser:
    """Return the denoiser of states with the law that it sets out from, or that law alone."""
    net = prior.denoiser.backbone
    assert isinstance(net, MLP)

    def cover(x: Fields, sigma: Sigma) -> Fields:
        level = expand_sigma(sigma, x) ** 2
        return filtered(net, x, net.variance * level / (net.variance + level))

    def alone(x_t: Fields, sigma: Sigma) -> Fields:
        return filtered(net, x_t, net.variance / (net.variance + expand_sigma(sigma, x_t) ** 2))

    return CovarianceDenoiser(alone if silent else window_denoiser(prior), cover)


def filtered(net: MLP, x: Fields, gain: Tensor) -> Fields:
    """Return states (B, 1, D) whose principal modes are multiplied by gains."""
    return x @ net.modes * gain @ net.modes.T


def lines(scored: dict[str, Score], aside: dict[str, float], wanted: Air) -> list[tuple[Any, ...]]:
    """Return a line of the table for each estimate."""

    def over(one: Score, who: str) -> str:
        low, high = interval(one, scored[who], wanted.block)
        return f"{one.rmse() / scored[who].rmse():.2f} ({low:.2f} to {high:.2f})"

    return [
        (who, s.rmse(), float(np.nanmean(s.crps)), s.ssr(), over(s, "surface"),
         over(s, "regression"), aside.get(who, ""))
        for who, s in scored.items()
    ]  # fmt: skip


def by_level(scored: dict[str, Score], levels: Array) -> str:
    """Return the RMSE of the estimates on each level, and how wide the widened one is."""
    kept = ("climate", "surface", "regression", "kernels", "dpdm")
    counts = np.isfinite(scored["dpdm"].error).sum(0)
    rows = [
        (f"{p / 100:g} hPa", int(counts[k]), *(scored[who].at(k).rmse() for who in kept),
         scored[WIDE].at(k).ssr())
        for k, p in enumerate(levels)
        if counts[k]
    ]  # fmt: skip
    return common.table(("level", "columns", *kept, "SSR, widened"), rows)


def targets(scored: dict[str, Score]) -> dict[str, common.Target]:
    """Return how the analysis is to stand to its rivals."""
    mine = scored["dpdm"].rmse()
    bounds = {"surface": 0.85, "regression": 1.0, "dpdm, surface": 1.0}
    wanted = {
        f"RMSE over that of {who}": common.target(mine / scored[who].rmse(), most=most)
        for who, most in bounds.items()
    }
    return wanted | {"SSR, widened": common.target(scored[WIDE].ssr(), 0.8, 1.2)}


def picture(path: Path, air: Air, levels: Array, found: dict[str, Estimate]) -> None:
    """Draw three columns."""
    from benchmarks.columns.figures import draw

    wide = found[WIDE]
    assert isinstance(wide, np.ndarray)
    rivals = {who: middle(found[who]) for who in ("surface", "regression")}
    draw(path, air, levels, wide, rivals)


if __name__ == "__main__":
    main()
