"""`cases`: who may act, and what was done.

Owns  agencies, officers, powers and their grants; cases from the clue on, with their transfers,
      disputes and requests for help; the trace.
Says  everything that happened to a case, a power, an officer (libs/common/contracts/cases.py).
Hears that a notice about a case was signed for.
"""
