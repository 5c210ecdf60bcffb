"""`notify`: who has been told.

Owns  the route table; notices and the receipts that agencies sign for them; events that found no route;
      the endpoints of agencies' own systems, and what is sent to them.
Says  that an agency has a notice, that it signed for it; how its endpoints do
      (libs/common/contracts/notify.py).
Hears everything that `cases` and `sharing` say.
"""
