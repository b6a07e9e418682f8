"""A sandbox gateway: the Simple M-Pesa protocol with a ledger that lasts and faults to order.

For trying a set-up and for tests. No money is in it. `client` needs Python alone, the rest gevent.
"""
