"""Train priors on one's own data."""
