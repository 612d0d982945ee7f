"""Nearest neighbours on the frozen encoder's features: method.md §9.

features ─ patches ─> vectors ─ coreset ─> bank; vectors, bank ─ banks ─> distances ─> map
"""
