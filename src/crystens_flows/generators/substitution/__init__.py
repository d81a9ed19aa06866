"""Ions of known crystals replaced by likely ones."""
