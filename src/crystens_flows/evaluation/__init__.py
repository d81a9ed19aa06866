"""Evaluating generators: the paper's tables and figures, and the field's metrics."""
