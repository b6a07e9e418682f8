{
    "name": "G2P Bank (stand-in)",
    "summary": "Stand-in for OpenG2P's addon of this name, for tests and the demo. Never for a deployment.",
    "version": "1.0.0",
    "category": "G2P",
    "author": "g2p_payment_simple_mpesa contributors",
    "license": "LGPL-3",
    "depends": ["base", "g2p_registry_base"],
    "data": ["views/registrant_views.xml"],
}
