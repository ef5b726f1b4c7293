"""Downscaling, assimilation and reconstruction of climate fields with one denoiser."""

__version__ = "0.1.0"
