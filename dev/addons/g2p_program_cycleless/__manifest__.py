{
    "name": "OpenG2P Programs: Cycleless (stand-in)",
    "summary": "Stand-in for OpenG2P's addon of this name, for tests. Never for a deployment.",
    "version": "1.0.0",
    "category": "G2P",
    "author": "g2p_payment_simple_mpesa contributors",
    "license": "LGPL-3",
    "depends": ["g2p_programs"],
}
