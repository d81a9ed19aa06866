"""Campaigns: what they do, where their jobs run, and what became of them."""
