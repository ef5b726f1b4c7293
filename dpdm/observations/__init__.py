"""Observations: tables, quality control and operators, and synthetic observations."""
