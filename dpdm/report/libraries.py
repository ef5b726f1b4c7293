"""The libraries that reports need, imported in one place, or one sentence on how to get them."""

from dpdm.fields.extra import lacking

try:
    import jinja2
    import matplotlib as mpl
    from matplotlib import figure, ticker
except ImportError as fault:
    raise lacking("Reports", fault) from fault

__all__ = ["figure", "jinja2", "mpl", "ticker"]
