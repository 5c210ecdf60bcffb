"""`notify`: who has been told.

Owns  the route table; notices and the receipts that agencies sign for them; events that found no route.
Says  that an agency has a notice, that it signed for it (libs/common/contracts/notify.py).
Hears everything that `cases` and `sharing` say.
"""
