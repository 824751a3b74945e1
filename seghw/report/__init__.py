"""The report's figures, drawn from the records."""

from seghw.report.figures import FIGURES, make_figures

__all__ = ["FIGURES", "make_figures"]
