"""Relay, consumer, filler and long poll on a simulated log, store and clock, crashed at every await."""
