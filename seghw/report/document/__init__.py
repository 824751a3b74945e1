"""The report as a document: one text, numbers from the records, a page and a PDF."""

from seghw.report.document.build import build_report

__all__ = ["build_report"]
