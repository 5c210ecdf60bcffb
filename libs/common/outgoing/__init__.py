"""Requests to addresses that others chose: where they may go, and a client that goes nowhere else."""
