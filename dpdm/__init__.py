"""Downscaling, assimilation and reconstruction of climate fields with one denoiser."""

from __future__ import annotations

__version__ = "0.1.0"
