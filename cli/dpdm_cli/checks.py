"""Check the paths of a command before the library is imported, which takes seconds."""

from pathlib import Path

from dpdm import choices


def check_paths(
    inputs: object, output: Path | None = None, overwrite: bool = False, prior: str = ""
) -> None:
    """Refuse inputs that do not exist, an output that cannot be written, and an unknown prior.

    Args:
        inputs: All input files, in any form that `dpdm.paths.iterate_paths` accepts.
        output: The output, if any.
        overwrite: Whether an existing output is replaced.
        prior: The prior by name or file, if any.
    """
    from dpdm import paths

    paths.check_inputs(inputs)
    if output is not None:
        paths.check_output(output, inputs, overwrite, suffixes=(output.suffix,))
    if prior and not Path(prior).is_file():
        from dpdm.prior import find_prior

        find_prior(prior)


def climatology_file(name: str) -> Path | None:
    """Return the file of --climatology, None for a name, which has no suffix."""
    named = name in choices.CLIMATOLOGIES or not (Path(name).suffix or Path(name).exists())
    return None if named or not name else Path(name)
