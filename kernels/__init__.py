"""Loops over numbers, into outputs that the caller allocated; `reference` says what they mean. No torch in here."""
