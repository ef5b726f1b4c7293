"""The greatest whole numbers that options and settings take.

Far beyond any use, and small enough that what they ask for can be counted: whether it fits into
this machine's memory and disk is checked where its size is known.
"""

MOST = {
    "members": 100_000,
    "seed": 2**63 - 1,
    "steps": 1_000,  # of a sampler
    "corrections": 1_000,
    "iterations": 10_000,
    "draws": 100_000,
    "factor": 10_000,
    "workers": 1_024,
    "member_block": 100_000,
    "window": 10_000,
    "lead": 1_000_000,
    "forecast_steps": 1_000_000,
    "trajectories": 10_000_000,
    "length": 10_000_000,
    "years": 200,  # from 2000 on: dates in nanoseconds end in 2262
    "burn_in": 10_000_000,
    "size": 4_096,
    "resolution": 16_384,
    "training_steps": 1_000_000_000,
    "batch": 100_000,
    "width": 16_384,  # channels of a network
    "depth": 64,
}
