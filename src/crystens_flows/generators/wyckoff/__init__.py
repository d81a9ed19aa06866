"""The generator of symmetric crystals: Wyckoff positions first, then what they leave free."""
