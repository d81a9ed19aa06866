"""Screens: validity, duplicates, formation energy, and the selection of what is relaxed."""
