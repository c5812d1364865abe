"""Predict the next step on a phone, and prepare for it in advance where that pays."""
