"""Write the chosen sampler and the scores of the test region into a prior's header."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from dpdm.prior import load_prior, save_prior

HERE = Path(__file__).parent


def main() -> None:
    """Read ``sealed.json`` beside this file, and save the prior with what it holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trained", type=Path)
    parser.add_argument("sealed", type=Path)
    options = parser.parse_args()
    prior = load_prior(options.trained)
    said = json.loads((HERE / "sealed.json").read_text(encoding="utf-8"))
    held = {"validation box, RMSE of the mean over lerp's": prior.contract.scores}
    contract = replace(
        prior.contract, sampling=said["sampling"], scores=held | said["scores"],
        training=prior.contract.training | {"seen": said["seen"]},
    )  # fmt: skip
    save_prior(replace(prior, contract=contract), options.sealed)


if __name__ == "__main__":
    main()
