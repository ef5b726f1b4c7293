"""The libraries that reports need, imported in one place, or one sentence on how to get them."""

from dpdm.errors import DpdmError

try:
    import jinja2
    import matplotlib as mpl
    from matplotlib import figure, ticker
except ImportError as fault:
    library = (fault.name or "matplotlib").partition(".")[0]
    raise DpdmError(
        f"Reports need {library}, which is not installed.", "Run: pip install 'dpdm[gis]'."
    ) from fault

__all__ = ["figure", "jinja2", "mpl", "ticker"]
