"""`sharing`: who may see what.

Owns  the one log in which everything stands that was heard, with each agency's rights to it; its feeds; the
      clocks that run, as they were told; the joint picture of the county, its rebuilds, and the board.
Says  that the picture was rebuilt (libs/common/contracts/sharing.py).
Hears everything that `cases`, `notify` and `sharing` itself say.
"""
