"""Store the climate of the training fields, on 2.5 degrees, in a finished prior.

Input of another world is adjusted to it. It covers the whole globe, East Asia too, which the
weights never saw: no weight and no score depends on it, for only
``dpdm.states.bias_adjustment`` reads it. It is a
mean of 26 years without quantiles, for the fields are twelve such means.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from dpdm.fields.grid import grid_of
from dpdm.fields.read import open_fields
from dpdm.fields.value_checks import load_checked_fields as load_fields
from dpdm.prior import load_prior, save_prior
from dpdm.training.config import FieldRecipe
from dpdm.training.field_statistics import training_climate

FACTOR = 10  # of 0.25 degrees
PERIOD = ["2000-01", "2025-12"]  # of the means, which are dated in 2012


def main() -> None:
    """Save a prior with the climate of its fields, whatever climate it had."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prior", type=Path)
    parser.add_argument("fields", type=Path)
    options = parser.parse_args()
    prior = load_prior(options.prior)
    fields = load_fields(open_fields(options.fields, prior.normaliser.names))
    steps = np.arange(fields.sizes["time"])
    climate = training_climate(fields, steps, FieldRecipe(), FACTOR, grid_of(fields))
    training = prior.contract.training | {"climate_period": PERIOD}
    save_prior(
        replace(prior, coarse=climate, contract=replace(prior.contract, training=training)),
        options.prior,
    )


if __name__ == "__main__":
    main()
