"""Bounds and formulas from hardware facts alone: nothing here was measured on the machine.

Pure functions of numbers: rates in bytes per second and per direction, sizes in bytes, seconds.
Names of hardware are looked up elsewhere. Every rate has a basis: line (as the wire toggles),
payload (after line coding) or effective (after packet headers, or as somebody measured it).
"""
