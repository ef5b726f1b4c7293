"""Training settings: the keys of ``dpdm train --config``, with their defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from dpdm.config import (
    FRACTION_RULE,
    OPTION_LIMITS,
    ValueRule,
    check_settings,
    choice_rule,
    is_fraction,
    list_rule,
    minimum_rule,
    range_rule,
    read_settings,
)


@dataclass(frozen=True)
class DataSettings:
    """Section ``[data]``: training and held-out data.

    Attributes:
        exclude: Box of test data, excluded from training: west, east, south, north, in degrees.
        validation_box: Box of validation windows: west, east, south, north.
        validation_share: Share of the time steps, the last ones, for validation; without a
            validation box and from 24 steps on.
        climatology: Take the climatology of the series as the reference state, and store it:
            "auto" (from three years of months on), "yes" or "no"; "pseudo" draws years from a
            climatology of twelve months, which then is not stored.
        mirror: Mirror half of the windows at the equator, half a year later, with the northward
            wind reversed. For global fields without a climatology.
    """

    exclude: tuple[float, ...] = ()
    validation_box: tuple[float, ...] = ()
    validation_share: float = 0.1
    climatology: str = "auto"
    mirror: bool = False


@dataclass(frozen=True)
class FieldNetSettings:
    """Section ``[net]``: the network's size.

    Attributes:
        window: Cells along each side of a training window.
        read: Channels of the conditioning encoder: full, half, quarter resolution.
        widths: Channels of the denoising part: half and quarter resolution.
        depth: Blocks per level.
        dropout: Dropout of the conditioning encoder.
    """

    window: int = 64
    read: tuple[int, ...] = (32, 64, 128)
    widths: tuple[int, ...] = (64, 128)
    depth: int = 2
    dropout: float = 0.0


@dataclass(frozen=True)
class TrainSettings:
    """Section ``[train]``: the optimisation.

    Attributes:
        steps: Optimiser steps; with ``--minutes`` the schedule ends at whichever comes first.
        batch: Windows per step.
        draws: Noise levels per window; the first of several is always the greatest.
        learning_rate: Peak of the schedule: a linear rise, then a cosine to zero.
        warmup: Steps of the rise.
        weight_decay: Of AdamW.
        ema: Decay of the moving average of the weights.
        sigma: Smallest and largest noise level.
        log_sigma: Mean and standard deviation of the log noise level of the other draws.
        nats: Weight of the negative log-likelihood of the variance.
        drop: Conditioning dropout of one variable, of all variables and of the season; for
            fields only.
        drop_reference: Conditioning dropout of the reference state.
        seed: Seed of weights, windows and noise.
        precision: "auto", "float32" or "bfloat16".
        validate: Steps between validations.
    """

    steps: int = 20000
    batch: int = 16
    draws: int = 4
    learning_rate: float = 1e-3
    warmup: int = 200
    weight_decay: float = 1e-2
    ema: float = 0.999
    sigma: tuple[float, ...] = (0.002, 80.0)
    log_sigma: tuple[float, ...] = (-0.2, 1.6)
    nats: float = 0.1
    drop: tuple[float, ...] = (0.08, 0.04, 0.08)
    drop_reference: float = 0.1
    seed: int = 0
    precision: str = "auto"
    validate: int = 1000


@dataclass(frozen=True)
class FieldRecipe:
    """All settings, for fields."""

    data: DataSettings = field(default_factory=DataSettings)
    net: FieldNetSettings = field(default_factory=FieldNetSettings)
    train: TrainSettings = field(default_factory=TrainSettings)


@dataclass(frozen=True)
class PerceptronSettings:
    """Section ``[net]`` for states of a few components: the perceptron's size.

    Attributes:
        hidden: Width of the layers.
        layers: Residual layers.
    """

    hidden: int = 256
    layers: int = 5


@dataclass(frozen=True)
class PlaneNetSettings:
    """Section ``[net]`` for states on a plane.

    Attributes:
        read: Channels of the conditioning encoder: full, half, quarter resolution.
        widths: Channels of the denoising part: half and quarter resolution.
        depth: Blocks per level.
        periodic: Whether the plane is periodic along both axes.
    """

    read: tuple[int, ...] = (8, 16, 32)
    widths: tuple[int, ...] = (96, 192)
    depth: int = 3
    periodic: bool = True


@dataclass(frozen=True)
class GlobeNetSettings:
    """Section ``[net]`` for states on the globe.

    Attributes:
        read: Channels of the conditioning encoder: full, half, quarter resolution.
        widths: Channels of the denoising part: half and quarter resolution.
        depth: Blocks per level.
        modes: Eigenvectors of each zonal wave of the Wiener filter that the network corrects.
    """

    read: tuple[int, ...] = (8, 16, 32)
    widths: tuple[int, ...] = (64, 128)
    depth: int = 2
    modes: int = 256


@dataclass(frozen=True)
class AutoencoderSettings:
    """Section ``[code]`` for ``--latent``: the size of the autoencoder.

    Attributes:
        codes: Channels of a code, with a quarter of the rows and columns.
        encode: Channels of the encoder.
        decode: Channels of the decoder, which determine the cost of an analysis.
        depth: Blocks of each.
        share: Share of steps and minutes for the autoencoder.
    """

    codes: int = 48
    encode: int = 128
    decode: int = 64
    depth: int = 2
    share: float = 0.25


@dataclass(frozen=True)
class PerceptronTrainSettings(TrainSettings):
    """Section ``[train]`` for states of a few components: the keys of fields, other defaults."""

    batch: int = 256
    draws: int = 1
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    log_sigma: tuple[float, ...] = (-3.0, 2.0)
    precision: str = "float32"


@dataclass(frozen=True)
class PlaneTrainSettings(TrainSettings):
    """Section ``[train]`` for states on a plane: the keys of fields, other defaults."""

    draws: int = 1
    log_sigma: tuple[float, ...] = (-1.5, 2.0)
    precision: str = "float32"


@dataclass(frozen=True)
class PerceptronRecipe:
    """All settings, for trajectories of a few components."""

    net: PerceptronSettings = field(default_factory=PerceptronSettings)
    train: PerceptronTrainSettings = field(default_factory=PerceptronTrainSettings)


@dataclass(frozen=True)
class PlaneRecipe:
    """All settings, for trajectories of states on a plane."""

    net: PlaneNetSettings = field(default_factory=PlaneNetSettings)
    train: PlaneTrainSettings = field(default_factory=PlaneTrainSettings)


@dataclass(frozen=True)
class GlobeTrainSettings(TrainSettings):
    """Section ``[train]`` for states on the globe: the keys of fields, other defaults."""

    batch: int = 8
    draws: int = 1
    weight_decay: float = 1e-3
    sigma: tuple[float, ...] = (0.005, 80.0)
    log_sigma: tuple[float, ...] = (-0.5, 1.8)
    precision: str = "float32"
    validate: int = 500


@dataclass(frozen=True)
class GlobeRecipe:
    """All settings, for states on the globe."""

    net: GlobeNetSettings = field(default_factory=GlobeNetSettings)
    train: GlobeTrainSettings = field(default_factory=GlobeTrainSettings)
    code: AutoencoderSettings = field(default_factory=AutoencoderSettings)


RecipeType = TypeVar("RecipeType", FieldRecipe, PerceptronRecipe, PlaneRecipe, GlobeRecipe)


BOX_RULE: ValueRule = (
    lambda box: not box or (len(box) == 4 and box[0] != box[1] and -90 <= box[2] < box[3] <= 90),
    "Give a list of 4: west, east, south, north, in degrees.",
)
SIZE_KEYS = ("read", "widths", "depth")
RECIPE_RULES: dict[str, ValueRule] = {
    "data.exclude": BOX_RULE,
    "data.validation_box": BOX_RULE,
    "data.validation_share": FRACTION_RULE,
    "data.climatology": choice_rule("auto", "yes", "no", "pseudo"),
    "net.window": (
        lambda size: 32 <= size <= 256 and size % 4 == 0,
        "Give a multiple of 4 from 32 to 256.",
    ),
    "net.read": list_rule(3, 1, OPTION_LIMITS["width"]),
    "net.widths": list_rule(2, 1, OPTION_LIMITS["width"]),
    "net.hidden": range_rule(4, OPTION_LIMITS["width"]),
    "net.modes": range_rule(1, OPTION_LIMITS["width"]),
    "net.dropout": FRACTION_RULE,
    "code.share": FRACTION_RULE,
    **{
        key: range_rule(1, OPTION_LIMITS["depth"])
        for key in ("net.depth", "net.layers", "code.depth")
    },
    **{
        f"code.{key}": range_rule(1, OPTION_LIMITS["width"])
        for key in ("codes", "encode", "decode")
    },
    **{f"train.{key}": range_rule(1, OPTION_LIMITS["batch"]) for key in ("batch", "draws")},
    **{
        f"train.{key}": range_rule(1, OPTION_LIMITS["training_steps"])
        for key in ("steps", "warmup", "validate")
    },
    **{f"train.{key}": minimum_rule(0) for key in ("learning_rate", "weight_decay", "nats")},
    "train.seed": range_rule(0, OPTION_LIMITS["seed"]),
    "train.ema": FRACTION_RULE,
    "train.sigma": (
        lambda pair: len(pair) == 2 and 0 < pair[0] < pair[1],
        "Give a list of 2, the least and the greatest, above 0.",
    ),
    "train.log_sigma": (
        lambda pair: len(pair) == 2 and pair[1] > 0,
        "Give a list of 2: a mean, and a standard deviation above 0.",
    ),
    "train.drop": (
        lambda shares: len(shares) == 3 and all(map(is_fraction, shares)),
        "Give a list of 3 numbers from 0 to less than 1.",
    ),
    "train.drop_reference": FRACTION_RULE,
    "train.precision": choice_rule("auto", "float32", "bfloat16"),
}


def read_recipe(path: Path | None, shape: type[RecipeType]) -> RecipeType:
    """Return the settings of a file, or the defaults."""
    recipe = shape() if path is None else read_settings(path, shape)
    check_settings(recipe, RECIPE_RULES, path)
    return recipe
