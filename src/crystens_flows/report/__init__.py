"""The page a person opens."""

from crystens_flows.report.page import render_report

__all__ = ["render_report"]
