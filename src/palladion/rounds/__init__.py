"""Rounds of clean and poisoned models: specified, designed, built, checked."""
