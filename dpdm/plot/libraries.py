"""The libraries that maps need, imported in one place, or one sentence on how to get them.

Figures are made without pyplot: no window system, no state that outlives a picture.
"""

import warnings

from dpdm.fields.extra import lacking

try:
    import cartopy.crs as ccrs
    import matplotlib as mpl
    from matplotlib import collections, colors, dates, figure, ticker
    from matplotlib.path import Path as Outline
    from matplotlib.textpath import TextPath

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of matplotlib, about how cmocean makes its maps
        import cmocean
except ImportError as fault:
    raise lacking("Maps", fault) from fault

__all__ = [
    "Outline",
    "TextPath",
    "ccrs",
    "cmocean",
    "collections",
    "colors",
    "dates",
    "figure",
    "mpl",
    "ticker",
]
