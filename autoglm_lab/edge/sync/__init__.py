"""Synchronisation of one owner's devices: whatever fails, all end with the same data, and no write is lost."""
