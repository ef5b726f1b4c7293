"""Reconstructions of long series: plan, units of work, ledger, output and verification."""
