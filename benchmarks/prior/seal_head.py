"""Write the fast head's spread inflations and scores into a prior's header, and halve its weights.

Half precision keeps the file small; it changes members by less than a thousandth of their spread.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from dpdm.prior import load_prior, save_prior

HERE = Path(__file__).parent


def main() -> None:
    """Read ``sealed.json`` beside this file, and save the prior with what it holds of the head."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trained", type=Path)
    parser.add_argument("sealed", type=Path)
    options = parser.parse_args()
    prior = load_prior(options.trained)
    said = json.loads((HERE / "sealed.json").read_text(encoding="utf-8"))["fast"]
    card = prior.contract
    contract = replace(
        card, sampling=card.sampling | said["sampling"], scores=card.scores | said["scores"]
    )
    assert prior.denoiser.fast is not None
    prior.denoiser.fast.half()
    save_prior(replace(prior, contract=contract), options.sealed)


if __name__ == "__main__":
    main()
